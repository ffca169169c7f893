"""The grammar of the command line, the same for every command, on top of argparse.

`--flag` alone means true, `--no-flag` false, and `--flag true` and `--flag false` are taken too. `-` and `_` are one in
the name of an option, and its value follows as `--key value` or `--key=value`. Whatever is wrong is collected, so that
a user sees all of it at once.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from polyp_monai.bundle import values
from polyp_monai.cli.renamed import renamed
from polyp_monai.data import remote
from polyp_monai.errors import CombinedError, PolypError, say

MISUSED = 2  # exit status where the words of the command line cannot be understood


class Mistakes:
    """What is wrong with a command line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.status = 1
        self.after_flag: dict[str, str] = {}  # a word that may have been meant as the value of the flag before it

    def misused(self, line: str) -> None:
        self.lines.append(line)
        self.status = MISUSED

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """A mistake that ends the block is kept, and what follows the block goes on."""
        try:
            yield
        except PolypError as error:
            self.lines += error.lines

    def check(self) -> None:
        """Raises CombinedError when there are any."""
        if self.lines:
            raise CombinedError([self._hinted(line) for line in dict.fromkeys(self.lines)], self.status)

    def _hinted(self, line: str) -> str:
        for word, flag in self.after_flag.items():
            if line.startswith(f"{word}: ") or f"/{word}: " in line:
                return f"{line}; of --{flag} the value is true or false"
        return line


class Outcome(NamedTuple):
    """What a command found: as lines for people, as JSON for programs, and its exit status."""

    lines: Sequence[str]
    content: Any
    status: int = 0


class _Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the texts, which are 120 at most, or as the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=min(shutil.get_terminal_size((120, 24)).columns, 120) - 2)


class _Option(NamedTuple):
    """What `--NAME` is: the word that argparse takes, or None for a key of a config; whether it takes no value; and
    whether it may stand several times."""

    word: str | None
    flag: bool
    several: bool = False


class Parser(argparse.ArgumentParser):
    """The words of one command: `option`, `flag` and `keys` declare them, `read` reads a command line.

    Attributes:
        any_key: whether every other --KEY VALUE is taken as well.
        explain: what to say of a name that is not known, or "".
    """

    def __init__(self, **words: Any) -> None:
        words.setdefault("formatter_class", _Help)
        super().__init__(**words, allow_abbrev=False)
        self.command = self.prog.split()[-1]
        self.known: dict[str, _Option] = {}
        self.any_key = False
        self.explain: Callable[[str], str] = lambda name: ""
        self._settings: dict[str, Any] = {}
        self._mistakes = Mistakes()

    def option(
        self,
        name: str,
        metavar: str,
        about: str,
        kind: Callable[[str], Any] = str,
        group: Any = None,
        anywhere: bool = False,
        **words: Any,
    ) -> argparse.Action:
        """--NAME VALUE. A value that `kind` refuses with ValueError is a mistake; the default stands in for it.

        A DIR or FILE is of this machine, unless it may be `anywhere`: then the command looks after addresses itself.
        """
        names: Sequence[str] = getattr(kind, "names", ())
        if not anywhere and (kind is Path or (kind is str and metavar in ("DIR", "FILE"))):
            kind = _local(kind)
        action = (group or self).add_argument(
            f"--{name}",
            metavar=metavar or f"{{{','.join(names)}}}",
            help=about,
            type=lambda text: self._taken(name, kind, text, words.get("default")),
            **words,
        )
        if names:
            complete(action, lambda **_: names)
        self.known[_plain(name)] = _Option(f"--{name}", False, words.get("action") == "append")
        return action

    def flag(self, name: str, about: str, group: Any = None) -> None:
        """--NAME, False without it. Of "no-NAME" the value is NAME, True without it."""
        positive, hidden = name.removeprefix("no-"), argparse.SUPPRESS
        dest, usual = positive.replace("-", "_"), positive != name
        place = group or self
        place.add_argument(
            f"--{positive}", dest=dest, action="store_true", default=usual, help=hidden if usual else about
        )
        place.add_argument(f"--no-{positive}", dest=dest, action="store_false", help=about if usual else hidden)
        self.known[dest] = _Option(f"--{positive}", True)

    def keys(self, options: Mapping[str, Any], file: str, choices: Mapping[str, Sequence[str]] | None = None) -> None:
        """The options of a bundle's config, name -> `bundle.options.Option`, which are listed in the help.

        `choices`: the values that some of them take, for completion.
        """
        group = self.add_argument_group(f"options of {file}")
        for name, option in options.items():
            flag = isinstance(option.default, bool)
            kind: dict[str, Any] = {"action": "store_true"} if flag else {"metavar": "VALUE"}
            action = group.add_argument(f"--{name.replace('_', '-')}", dest=f"key {name}", help=_about(option), **kind)
            if names := (choices or {}).get(name):
                complete(action, lambda names=names, **_: names)
            self.known[name] = _Option(None, flag)
            self._settings[name] = option.default

    def read(self, words: list[str]) -> tuple[argparse.Namespace, Mistakes]:
        """The options, of which `given` holds the keys of the config as texts, and what is wrong so far.

        Raises:
            CombinedError: an argument is missing, or the value of one that is required is refused; and what else is
                wrong.
        """
        ours, given = self._split(words)
        try:
            args, rest = self.parse_known_args(ours)
        except PolypError as error:
            self._mistakes.misused(str(error))
            self._mistakes.check()
        for word in rest:
            self._mistakes.misused(f"{word!r}: is not expected here (see `{self.prog} --help`)")
        if any(action.required and getattr(args, action.dest, None) is None for action in self._actions):
            self._mistakes.check()  # no command can look on without it
        args.given = given
        return args, self._mistakes

    def error(self, message: str):
        """What argparse itself refuses."""
        lacking = message.partition("the following arguments are required: ")[2]
        raise PolypError(f"missing: {lacking} (see `{self.prog} --help`)" if lacking else message)

    def _taken(self, name: str, kind: Callable[[str], Any], text: str, default: Any) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            self._mistakes.lines.append(f"--{name} {text}: {error}")
        except PolypError as error:  # it names what was given
            self._mistakes.lines += error.lines
        return default

    def _split(self, words: list[str]) -> tuple[list[str], dict[str, str]]:
        """The words for argparse, and the keys of the config.

        Each option has its value joined to it. Arguments follow the options: argparse takes them only side by side.
        """
        ours: list[str] = []
        arguments: list[str] = []
        given: dict[str, str] = {}
        texts: dict[str, str] = {}
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                return [*ours, word, *arguments, *rest], given
            if not word:
                self._mistakes.misused("an argument is empty, as of a variable that is not set")
                continue
            if word.startswith("-") and not word.startswith("--") and word not in ("-", "-h"):
                self._mistakes.misused(f"{word}: no such option; a file of that name is ./{word}")
                word = f"./{word}"
            if not word.startswith("--") or word == "--help":
                (ours if word in ("-h", "--help") else arguments).append(word)
                continue
            name, equals, value = word[2:].partition("=")
            found, plain, no = self._find(_plain(name))
            if found is None:
                self._unknown(name, equals, rest)
                continue
            text = self._value(name, value if equals else None, found.flag, no, rest)
            if text is None:
                continue
            if not found.several and texts.setdefault(plain, text) != text:
                say(f"polyp: --{name}: is given twice, {text} counts")
            if found.word is None:
                given[plain] = text
            elif found.flag:
                ours.append(found.word if text == "true" else f"--no-{found.word[2:]}")
            else:
                ours.append(f"{found.word}={text}")
        return [*ours, *arguments], given

    def _find(self, plain: str) -> tuple[_Option | None, str, bool]:
        """The option of that name, its name, and whether it was written --no-NAME."""
        if found := self.known.get(plain):
            return found, plain, False
        positive = plain.removeprefix("no_")
        if positive != plain and (found := self.known.get(positive)) and found.flag:
            return found, positive, True
        head, _, below = plain.partition("::")
        if below and head in self._settings:
            return _Option(None, isinstance(_below(self._settings[head], below), bool)), plain, False
        return (_Option(None, False) if self.any_key else None), plain, False

    def _value(self, name: str, value: str | None, flag: bool, no: bool, rest: list[str]) -> str | None:
        """The text of an option, taken from `rest` where it was not joined; None when it is missing or wrong."""
        if flag:
            if value is None:
                value = rest.pop(0) if rest and rest[0].lower() in ("true", "false") else "true"
                if rest and rest[0].isalnum():
                    self._mistakes.after_flag.setdefault(rest[0], name)
            try:
                return "true" if values.boolean(value) != no else "false"
            except ValueError as error:
                self._mistakes.lines.append(f"--{name} {value}: {error}")
                return None
        if value is None and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        if not value:
            self._mistakes.misused(f"--{name}: a value is missing")
        return value or None

    def _unknown(self, name: str, equals: str, rest: list[str]) -> None:
        new = renamed(name, self.command)
        reason = new or self.explain(_plain(name))
        near = "" if reason else values.did_you_mean(_plain(name), self.known)
        if not reason:
            hint = near.replace("mean ", "mean --").replace("_", "-") or f"; see `{self.prog} --help`"
            reason = f"no such option of `{self.prog}`{hint}"
        self._mistakes.misused(f"--{name}: {reason}")
        meant = self.known.get(near.rpartition(" ")[2].rstrip("?"))
        if not equals and (new or not (meant and meant.flag)) and rest and not rest[0].startswith("--"):
            rest.pop(0)  # its value


def complete(action: argparse.Action, words: Callable[..., Iterable[str]]) -> None:
    """Have the shell offer `words(prefix=, ...)` for what `action` takes; argcomplete asks for the attribute."""
    setattr(action, "completer", words)  # noqa: B010  argparse does not declare it


def _local(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: kind(remote.local(text))


def _plain(name: str) -> str:
    """The name of an option as configs write it; `#` is MONAI's older `::`."""
    return name.replace("-", "_").replace("#", "::")


def _below(content: Any, key: str) -> Any:
    from polyp_monai.bundle.options import at

    try:
        return at(content, key)
    except KeyError:
        return None


def _about(option: Any) -> str:
    """Comment and default of an option, for the help."""
    default, text = option.default, str(option.default)
    if default is False:
        return option.about.removeprefix("true: ").replace("%", "%%")
    if default is True or default is None:
        text = "true" if default else "none"
    elif isinstance(default, (dict, list)) or text[:1] in ("$", "@", "%"):
        text = ""
    return f"{option.about} ({text})".replace(" ()", "").strip().replace("%", "%%")
