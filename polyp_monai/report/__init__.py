"""The report of a run: one HTML file that needs nothing but itself."""

from polyp_monai.report.page import write

__all__ = ["write"]
