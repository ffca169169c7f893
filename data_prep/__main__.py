"""python -m data_prep SET --source PATH --out DIR: the same as `polyp prepare`."""

from __future__ import annotations

import argparse
import sys

from data_prep import command
from polyp_monai.errors import PolypError


def main(arguments: list[str] | None = None) -> int:
    """Run `polyp prepare`; a mistake in the input becomes one line on stderr."""
    parser = argparse.ArgumentParser(prog="polyp prepare")
    command.add_arguments(parser)
    args = parser.parse_args(arguments)
    try:
        return command.run(args)
    except KeyboardInterrupt:
        print("polyp: error: interrupted; run the same command again to finish", file=sys.stderr)
        return 130
    except (PolypError, OSError) as error:
        print(f"polyp: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
