"""What pages are made of: plain data. A part names the template that draws it; none of them holds HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

Layer = Literal["truth", "prediction", "missed", "extra"]


class Part(Protocol):
    """Something that stands in a section."""

    template: ClassVar[str]


@dataclass(frozen=True)
class Tile:
    """One number, large: its name, and what it rests on."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """The first column is text, the others are numbers; see `show`."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Fact:
    """A name and its value; `code` is set as such."""

    label: str
    value: str
    code: bool = False


@dataclass(frozen=True)
class Card:
    """A box with a heading: a text, a table or facts."""

    title: str = ""
    lead: str = ""
    text: str = ""
    table: Table | None = None
    facts: Sequence[Fact] = ()

    template: ClassVar[str] = "card.html"


@dataclass(frozen=True)
class Remark:
    """One line of a list of findings. `severity`: error, warning or info; `action`: what was done about it."""

    severity: str
    code: str
    text: str
    files: str = ""
    action: str = ""


@dataclass(frozen=True)
class Findings:
    """The list of what was found in a data set."""

    remarks: Sequence[Remark]

    template: ClassVar[str] = "findings.html"


@dataclass(frozen=True)
class FramePicture:
    """A frame, and outlines over it, which the browser draws and can switch off.

    `source`: JPEG as a data URI of `size` (width, height), "" where there is none. `layers`: path data of the outlines
    in units of `grid` (width, height). `note`: what is missing.
    """

    source: str = ""
    size: tuple[int, int] = (0, 0)
    grid: tuple[int, int] = (0, 0)
    layers: Mapping[Layer, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Shot:
    """A picture with its caption. `facts`: what `Filter` chooses by (several words of a fact by blanks); `score` 0..1,
    None where there is none."""

    picture: FramePicture
    name: str
    verdict: str
    about: str
    more: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    score: float | None = None


@dataclass(frozen=True)
class Sheet:
    """Shots under a heading, smaller or larger."""

    title: str
    shots: Sequence[Shot]
    large: bool = False


@dataclass(frozen=True)
class Filter:
    """A choice over the shots of a gallery by one of their facts: value -> words."""

    name: str
    label: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Gallery:
    """Sheets of shots that open when clicked. `score`: the name of the shots' score, "" where they have none."""

    sheets: Sequence[Sheet]
    layers: Sequence[Layer] = ("truth", "prediction", "missed", "extra")
    filters: Sequence[Filter] = ()
    score: str = ""

    template: ClassVar[str] = "gallery.html"


@dataclass(frozen=True)
class Section:
    """Parts side by side under a heading."""

    title: str
    parts: Sequence[Part]
    lead: str = ""

    @property
    def anchor(self) -> str:
        """The title as the address within the page."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")

    @property
    def cards(self) -> bool:
        """Whether the parts stand in columns."""
        return not any(isinstance(part, Gallery) for part in self.parts)


@dataclass(frozen=True)
class Page:
    """A page. `title`: of the browser's tab. `flag`: a word beside the heading that nobody should miss; `alarm` says
    why. `basis`: what the tiles' numbers rest on. Sections without parts are left out."""

    title: str
    heading: str
    lead: str
    sections: Sequence[Section]
    flag: str = ""
    alarm: Fact | None = None
    tiles: Sequence[Tile] = ()
    basis: str = ""

    @property
    def filled(self) -> list[Section]:
        """The sections that hold something."""
        return [section for section in self.sections if section.parts]

    @property
    def has_gallery(self) -> bool:
        """Whether the page needs the gallery's script."""
        return any(isinstance(part, Gallery) for section in self.filled for part in section.parts)


def show(value: Any) -> str:
    """A number with three digits, a count or a word as it is; "-" for what was not measured."""
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else f"{value}"


def percent(share: float, digits: int = 0) -> str:
    """A share of 1 as the house writes it: 2.5 %."""
    return f"{100 * share:.{digits}f}\u00a0%"


def plural(count: int, noun: str) -> str:
    """1 frame, 2 frames."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
