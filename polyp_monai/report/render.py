"""Parts -> HTML, by the templates of this folder. Everything that they are given is escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from polyp_monai.report.parts import Page, show

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment() -> Environment:
    """Where the templates are and what they know: `show` as a filter, and no name that is not there."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("polyp_monai.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["show"] = show
    return found


def render(page: Page) -> str:
    """The page as one HTML file, which loads nothing."""
    return environment().get_template("page.html").render(page=page)
