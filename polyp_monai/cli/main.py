# PYTHON_ARGCOMPLETE_OK
"""The command `polyp`: which command is meant, its words, its result, its exit status."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

import polyp_monai
from polyp_monai.bundle import values
from polyp_monai.cli import (
    bundles,
    evaluate,
    export,
    merge,
    predict,
    prepare,
    renamed,
    serve,
    share,
    sweep,
    train,
    video,
)
from polyp_monai.cli.grammar import MISUSED, Mistakes, Outcome, Parser
from polyp_monai.errors import CombinedError, PolypError, exit_status, shown

HOWTO = """polyp finds and outlines polyps in colonoscopy frames. The main job:

  polyp prepare kvasir-seg --source kvasir-seg.zip --out data/kvasir   # check a data set, split it
  polyp train unet --data data/kvasir                                  # runs/unet: a bundle with its weights
  polyp evaluate runs/unet --data data/kvasir                          # report, tables, masks
  polyp predict runs/unet photo.jpg frames/ --out masks                # masks, in the geometry of the frames

With the weights that come along:  polyp predict photo.jpg
All commands:  polyp --help     One of them:  polyp help COMMAND
"""

EXAMPLES = """examples:
  polyp prepare kvasir-seg --source kvasir-seg.zip --out data/kvasir
  polyp train unet --data data/kvasir --epochs 60
  polyp evaluate runs/unet --data data/kvasir
  polyp predict photo.jpg
  polyp predict runs/unet photo.jpg frames/ --out masks --overlay
  polyp score --pred maps --truth data/kvasir/masks --out results
  polyp compare runs/unet/eval/test results/efficient_unet/test
  polyp export efficient_unet --format onnx
  polyp video clip.mp4 --out overlay.mp4
  polyp serve
  polyp bundles
  polyp inspect sent.zip
  polyp pack runs/unet --out my_unet.zip

`polyp help COMMAND` or `polyp COMMAND --help` tells of one command. --json prints its result as JSON on stdout, and all
else on stderr. Exit status: 0 well, 1 a mistake in the input, 2 words that cannot be understood, 130 interrupted.
"""


class Command(NamedTuple):
    """`about`: a line; `declare` gives a parser its words; `config`: of the bundle, whose options follow as --KEY."""

    about: str
    declare: Callable[[Parser], None]
    config: str | None = None


COMMANDS = {
    "prepare": Command("check a data set, split it, write its data list", prepare.declare),
    "train": Command("train a bundle", train.declare, "train"),
    "sweep": Command("search for the options that train a bundle best", sweep.declare, "train"),
    "evaluate": Command("score a trained bundle", evaluate.declare_evaluate, "evaluate"),
    "score": Command("score masks or maps that any tool wrote", evaluate.declare_score),
    "compare": Command("compare runs pair by pair", evaluate.declare_compare),
    "calibrate": Command("find the threshold that misses no more than a share", evaluate.declare_calibrate),
    "merge": Command("score the folds or seeds of one recipe together", merge.declare_merge, "evaluate"),
    "ensemble": Command("make one bundle of several trained ones", merge.declare_ensemble),
    "report": Command("write the report of a run again", evaluate.declare_report),
    "predict": Command("write masks for frames", predict.declare, "inference"),
    "export": Command("write a bundle's network for other runtimes", export.declare),
    "video": Command("follow the polyps of a video", video.declare_video, "inference"),
    "serve": Command("answer over HTTP: a page, a service", serve.declare, "inference"),
    "score-video": Command("score the polyps of a video", video.declare_score_video),
    "new": Command("make a bundle for your own network", bundles.declare_new),
    "bundles": Command("list the shipped bundles and their scores", bundles.declare_bundles),
    "inspect": Command("look at a bundle without running anything of it", share.declare_inspect),
    "pack": Command("write a trained bundle as one zip for others", share.declare_pack),
    "card": Command("write measured scores into a bundle's card", share.declare_card),
    "push": Command("copy a packed bundle into a shared folder", share.declare_push),
    "fetch": Command("get a packed bundle, look at it, unpack it", share.declare_fetch),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns the exit status: 0 well, 1 wrong input, 2 words that cannot be understood, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a name that the terminal cannot show must not end a command
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # TextIO, or whatever stands there
    _log_to_stderr()
    words = sys.argv[1:] if arguments is None else list(arguments)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    return exit_status(lambda: _run(words))


def _run(words: list[str]) -> int:
    if words[:1] == ["help"]:
        words = [*(word for word in words[1:2] if word != "help"), "--help"]
    if not words:
        print(HOWTO, end="")
        return 0
    name, *rest = words
    if name in ("-h", "--help", "--version"):
        _all_commands().parse_args([name])  # which ends the process
    if name not in COMMANDS:
        raise CombinedError([f"{name}: {_no_such_command(name)}"], MISUSED)
    parser = _declared(Parser(prog=f"polyp {name}"), name, rest)
    args, mistakes = parser.read(rest)
    share.accept(args)
    stdout = sys.stdout
    with redirect_stdout(sys.stderr if args.json else stdout):
        outcome = _outcome(args, mistakes)
    if args.json:
        text = json.dumps(outcome.content, indent=1, ensure_ascii=False, allow_nan=False)
        print("\n".join(map(shown, text.split("\n"))))
        return outcome.status
    for line in outcome.lines:
        print(shown(line))
    return outcome.status


def _outcome(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    try:
        return args.run(args, mistakes)
    except SystemExit as error:  # of a network of the user's own: its status may be 0
        raise PolypError(f"nothing came of it: code that it ran ended the program (SystemExit {error.code})") from error


class _ToStderr(logging.Handler):
    """Writes to what is stderr now, not to what it was when the handler was made."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


class _Record(logging.LogRecord):
    """What is logged as a terminal may have it, whichever handler shows it. Of polyp_monai a record is a line."""

    def getMessage(self) -> str:  # noqa: N802  logging's name
        text = super().getMessage()
        return (
            shown(text)
            if self.name.startswith(("polyp_monai", "data_prep"))
            else "\n".join(map(shown, text.split("\n")))
        )


def _log_to_stderr() -> None:
    """Shows what polyp_monai logs, as a bundle's logging.conf does, which replaces this once a workflow runs."""
    logging.setLogRecordFactory(_Record)
    logging.getLogger("polyp_monai").setLevel(logging.INFO)
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # its warnings quote what stands in a file
    warnings.filterwarnings("ignore", module="pydicom")
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _ToStderr) or type(handler) is logging.StreamHandler:  # of an earlier command
            root.removeHandler(handler)
    root.addHandler(_ToStderr())


def _no_such_command(name: str) -> str:
    if new := renamed.COMMANDS.get(name):
        return f"is called {new} now"
    near = values.did_you_mean(name, COMMANDS)
    return f"no such command{near or '; known are ' + ', '.join(COMMANDS)}"


def _declared(parser: Parser, name: str, words: list[str]) -> Parser:
    """The parser of a command, with the options of the bundle that the words name."""
    command = COMMANDS[name]
    command.declare(parser)
    share.declare_trust(parser)
    parser.flag("json", "print the result as JSON on stdout, and all else on stderr")
    if command.config:
        _add_keys(parser, command.config, words)
    return parser


def _add_keys(parser: Parser, config: str, words: list[str]) -> None:
    from polyp_monai.bundle import locate, options, overrides
    from polyp_monai.cli import common

    name = next((word for word in words if common.is_bundle(word)), common.FLAGSHIP)
    root = locate.shipped().get(name) or Path(name)
    if root.is_file():  # a zip: `locate.find` says what to do with it
        root = locate.shipped()[common.FLAGSHIP]
    options.check_files(root, config)
    parser.epilog = f"The defaults are those of {name}.\n\n{parser.epilog}"
    every = {k: o for k, o in options.options(root, config).items() if overrides.own(k, config)}
    fitting = {"video": video.KEYS, "serve": serve.KEYS}.get(parser.command, every)
    known = {k: o for k, o in every.items() if k in fitting}
    choices = {k: kind.names for k, kind in overrides.KINDS.items() if hasattr(kind, "names")}
    if "loss" in known:
        choices["loss"] = tuple(options.read_settings(root / "configs/losses.yaml"))
    parser.keys(known, f"configs/{config}.yaml", choices)

    def explain(key: str) -> str:
        reason = "" if key in every else overrides.explain(root, config, key)
        return reason or (f"has no meaning for `{parser.prog}`" if {key} & {*every, *overrides.ARGUMENTS} else "")

    parser.explain = explain


def _all_commands() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polyp",
        description=polyp_monai.__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"polyp_monai {polyp_monai.__version__}")
    places = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        places.add_parser(name, help=command.about)
    return parser


def _complete() -> None:
    """Tab completion: argcomplete asks by environment variables, and ends the process."""
    with suppress(ImportError):
        import argcomplete

        words = os.environ.get("COMP_LINE", "").split()[1:]
        parser = _all_commands()
        if words and words[0] in COMMANDS:
            places = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
            _declared(places.choices[words[0]], words[0], words[1:])
        argcomplete.autocomplete(parser)
