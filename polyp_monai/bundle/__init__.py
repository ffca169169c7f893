"""Bundles: where they are, and the strict front door to `monai.bundle`."""
