"""python -m data_prep SET --source PATH --out DIR: the same as `polyp prepare`."""

from __future__ import annotations

import argparse
import sys

from data_prep import command
from polyp_monai.errors import exit_status


def main(arguments: list[str] | None = None) -> int:
    """Run `polyp prepare`; a mistake in the input becomes one line on stderr."""
    parser = argparse.ArgumentParser(prog="polyp prepare")
    command.add_arguments(parser)
    args = parser.parse_args(arguments)
    return exit_status(lambda: command.run(args))


if __name__ == "__main__":
    sys.exit(main())
