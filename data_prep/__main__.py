"""python -m data_prep SET --source PATH --out DIR: the same as `polyp prepare`."""

from __future__ import annotations

import argparse
import sys

from polyp_monai.cli import prepare
from polyp_monai.errors import exit_status


def main(arguments: list[str] | None = None) -> int:
    """Run `polyp prepare`; a mistake in the input becomes one line on stderr."""
    parser = argparse.ArgumentParser(prog="polyp prepare")
    prepare.add_arguments(parser)
    args = parser.parse_args(arguments)
    return exit_status(lambda: prepare.run(args))


if __name__ == "__main__":
    sys.exit(main())
