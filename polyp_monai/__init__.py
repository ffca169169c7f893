"""Polyp segmentation in colonoscopy: data preparation, MONAI bundles, training, evaluation, prediction."""

__version__ = "0.2.0"
