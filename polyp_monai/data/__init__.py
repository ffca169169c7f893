"""Data of all kinds: what a frame is, and how it comes to a network."""
