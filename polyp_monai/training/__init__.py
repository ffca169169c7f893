"""What the training loop adds to MONAI's: handlers, checkpoints, memory."""
