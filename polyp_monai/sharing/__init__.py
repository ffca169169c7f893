"""Sharing bundles: look at one before it runs, pack one for others, trust it by its content or a signature."""
