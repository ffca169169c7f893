"""A network as a file for other runtimes, checked against PyTorch before it stays."""
