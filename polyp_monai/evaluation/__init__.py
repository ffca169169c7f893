"""What a run's scores are made of: frames scored, sets summed up, runs compared."""

RUN_FILES = ("frames.csv", "histograms.npz", "summary.json", "report.html")  # of a run's folder
POLYPS = "polyps.csv"  # there where a bundle tells classes apart
