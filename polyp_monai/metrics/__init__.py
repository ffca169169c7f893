"""Metrics as pure functions on arrays: no files, no engines."""
