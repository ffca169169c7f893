"""A search over training options: Optuna chooses, `polyp train` trains, in one process or on many machines."""
