"""What a run's figures are made of: frames scored, sets summed up, runs compared."""
