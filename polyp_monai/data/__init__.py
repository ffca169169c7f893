"""Data of all kinds: what a frame is, and how it comes to a network."""

SPLITS = ("training", "validation", "test")
ALL = "all"  # of a set that nothing was trained on
SCRAP = (".partial-", ".polyp-")  # beginnings of names of files that are polyp's own
