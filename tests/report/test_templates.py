"""The templates: what they are given is escaped, whatever it is, and they load nothing."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from importlib import resources

import jinja2
import pytest

import polyp_monai.report
from polyp_monai.report import charts, parts
from polyp_monai.report.render import environment, render

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(1)>" onload="alert(1)' {{ 7 * 7 }} & <b>"""


class Reader(html.parser.HTMLParser):
    """Every tag with its attributes, and the words between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


def page(text: str) -> parts.Page:
    """A page of every part there is, with `text` wherever a word can stand."""
    axis = charts.Axis(text)
    chart = charts.Chart(
        text,
        text,
        axis,
        axis,
        [charts.Text(0, 0, text), charts.Bar(0, 0, 1, 1, text), charts.Stroke("M0 0", "box")],
        [text],
    )
    card = parts.Card(text, text, text, parts.Table([text, text], [[text, 0.5]]), [parts.Fact(text, text, True)])
    remark = parts.Remark("warning", text, text, text, text)
    picture = parts.FramePicture("data:,", (1, 1), (1, 1), {"truth": "M0 0"}, text)
    shot = parts.Shot(picture, text, text, text, text, {"kind": text}, 0.5)
    choice = parts.Filter("kind", text, {text: text})
    gallery = parts.Gallery([parts.Sheet(text, [shot])], filters=[choice], score=text)
    sections = [
        parts.Section(text, [card, chart, parts.Findings([remark])], text),
        parts.Section("empty", []),
        parts.Section(text, [gallery]),
        parts.Section(text, [parts.Findings([])]),
    ]
    alarm = parts.Fact(text, text)
    return parts.Page(text, text, text, sections, text, alarm, [parts.Tile(text, text, text)], text)


def test_hostile_words_stay_words():
    plain, hostile = Reader(render(page("word"))), Reader(render(page(HOSTILE)))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [set(attributes) for _, attributes in hostile.tags] == [set(attributes) for _, attributes in plain.tags]
    assert "".join(hostile.words).count(HOSTILE) == "".join(plain.words).count("word") > 30


def test_a_section_without_parts_is_left_out():
    assert 'id="empty"' not in render(page("word"))


def test_no_script_without_a_gallery():
    bare = dataclasses.replace(page("word"), sections=page("word").sections[:1])
    assert "<script" not in render(bare)
    assert "script-src" not in render(bare)
    assert "script-src 'unsafe-inline'" in render(page("word"))


def test_nothing_switches_the_escaping_off():
    source = resources.files(polyp_monai.report)
    code = [path for path in source.iterdir() if path.name.endswith(".py")]
    templates = list(source.joinpath("templates").iterdir())
    assert len(templates) == 7
    for path in [*code, *templates]:
        assert not re.search(r"\|\s*safe\b|Markup|autoescape\s*=?\s*(False|false)", path.read_text(encoding="utf-8"))
    for path in code:
        assert not re.search(r"</\w+>|<\w+ [\w-]+=", path.read_text(encoding="utf-8")), f"{path.name} holds HTML"


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ part.nothing }}").render(part=parts.Card())
