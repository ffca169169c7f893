"""Judges a logging.conf: Python's `fileConfig` evaluates parts of it, before any other config is read."""

from __future__ import annotations

import configparser
from collections.abc import Iterator

from polyp_monai.sharing.findings import BundleFinding, Level

HANDLERS = ("StreamHandler", "NullHandler", "logging.StreamHandler", "logging.NullHandler")
ARGUMENTS = ("()", "(sys.stdout,)", "(sys.stderr,)", "(sys.stdout, )", "(sys.stderr, )")
EVALUATED = ("class", "args", "kwargs", "defaults")
PLAIN = {  # option -> sections that may hold it, by the start of their names
    "keys": ("loggers", "handlers", "formatters"),
    "level": ("logger_", "handler_"),
    "handlers": ("logger_",),
    "qualname": ("logger_",),
    "propagate": ("logger_",),
    "formatter": ("handler_",),
    "class": ("handler_",),
    "args": ("handler_",),
    "format": ("formatter_",),
    "datefmt": ("formatter_",),
    "style": ("formatter_",),
}


def examine(text: str, name: str) -> list[BundleFinding]:
    """Findings of the file's text; `name` is its path below the bundle's folder."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except (configparser.Error, ValueError) as error:
        return [BundleFinding(Level.UNKNOWN, "logging", name, "", f"cannot be read ({type(error).__name__})")]
    found = [
        BundleFinding(Level.DANGEROUS, "logging", name, key, "a default for all sections") for key in parser.defaults()
    ]
    for section in parser.sections():
        for key, value in parser.items(section):
            found += _of_option(f"{name}::{section}", section, key, value.strip())
    return found


def _of_option(place: str, section: str, key: str, value: str) -> Iterator[BundleFinding]:
    def finding(level: Level, why: str = "") -> BundleFinding:
        return BundleFinding(level, "logging", place, f"{key} = {value}", why)

    if key in EVALUATED and not section.startswith("handler_"):
        yield finding(Level.DANGEROUS, "evaluated as Python, or imported")
    elif key in EVALUATED and "%" in value:
        yield finding(Level.DANGEROUS, "evaluated after other texts are put in")
    elif key == "class":
        known = value in HANDLERS
        yield finding(Level.KNOWN) if known else finding(Level.DANGEROUS, "can write files, send the log away, or run")
    elif key == "args":
        known = value in ARGUMENTS
        yield finding(Level.KNOWN) if known else finding(Level.DANGEROUS, "evaluated as Python")
    elif key == "kwargs":
        yield finding(Level.DANGEROUS, "evaluated as Python")
    elif not section.startswith(PLAIN.get(key, ("nowhere",))):
        yield finding(Level.UNKNOWN, "an option that logging does not have there")
    elif "%(" in value and key != "format" and key != "datefmt":
        yield finding(Level.UNKNOWN, "other texts are put in")
