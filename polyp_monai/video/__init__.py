"""Videos: reading, writing and following polyps through their frames."""
