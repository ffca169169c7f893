"""Data of all kinds: what a frame is, and how it comes to a network."""

SPLITS = ("training", "validation", "test")
ALL = "all"  # of a set that nothing was trained on
