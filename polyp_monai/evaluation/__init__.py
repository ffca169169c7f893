"""Scores of frames, of runs and between runs; leakage, domain shift, calibrated thresholds."""
