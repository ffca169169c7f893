"""The command `polyp`: words and messages. What does the work is imported when a command needs it."""

from polyp_monai.cli.main import main

__all__ = ["main"]
