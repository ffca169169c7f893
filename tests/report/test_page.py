from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.report import gallery, write

from .conftest import NAME, disc


def text(run: Path) -> str:
    return write(run).read_text(encoding="utf-8")


def words(page: str) -> str:
    """What a reader sees, without tags and scripts."""
    page = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\u00a0", " ").split())


def change(folder: Path, **parts) -> Path:
    """Replaces parts of summary.json; None takes one out."""
    content = json.loads((folder / "summary.json").read_text())
    files.write_json(folder / "summary.json", {k: v for k, v in (content | parts).items() if v is not None})
    return folder


def rows(run: Path, edit) -> None:
    """Replaces frames.csv by what `edit` makes of its text."""
    (run / "frames.csv").write_text(edit((run / "frames.csv").read_text(encoding="utf-8")), encoding="utf-8")


def told_of(run: Path, count: int) -> None:
    """Makes summary.json tell of `count` frames."""
    path = run / "summary.json"
    files.write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"frames": count})


def test_says_what_was_measured(few):
    seen = words(text(few))
    for expected in (
        "mean Dice 0.800 0.711 to 0.877",
        "mean IoU 0.700 no interval",
        "mean HD95 12.5 px no interval",
        "Dice ↑ 0.800 0.711 to 0.877",
        "HD95 ↓ 12.5 px",
        "missed polyps 2 of 6 frames with a polyp",
        "negatives left empty 2 of 3",
        "weights' sha256 9f86d0",
        "command polyp evaluate unet",
        "packages monai 1.6.1",
        "Dice 0.800 0.456 0.123",  # with the trivial baselines
        "3 of 9 test frames (33.3 %) have a near neighbour",
        "scores Dice 0.410",
        "average precision 0.913",
        "Expected error 0.033",
        "4 frames with a polyp: mean",
        "All 4 frames with a polyp, worst first",
        "1 false alarms",
    ):
        assert expected in seen


def test_leak_is_in_the_headline(few):
    assert "leaked" not in text(few).partition("</h1>")[0].partition("<h1>")[2]
    leak = {
        "test": 9,
        "similar_in_training": 3,
        "share": 0.3,
        "limit": 0.05,
        "leaked": True,
        "by_group": 1,
        "by_similarity": 2,
    }
    assert "leaked" in text(change(few, leakage=leak)).partition("</h1>")[0].partition("<h1>")[2]


def test_gallery_draws_what_differs(few):
    shots = re.findall(r'<figure class="shot".*?</figure>', text(few), flags=re.S)
    assert len(shots) == 5  # the empty frame without a polyp is nothing to look at
    missed = next(shot for shot in shots if "<b>missed</b>" in shot)
    assert 'class="missed"' in missed
    assert 'class="extra"' not in missed
    assert 'data-kind="worst miss median best"' in missed
    alarm = next(shot for shot in shots if "<b>false alarm</b>" in shot)
    assert 'class="extra"' in alarm
    assert 'class="truth"' not in alarm
    assert 'data-size="none" data-score=""' in alarm
    assert all("data:image/jpeg;base64," in shot for shot in shots)
    assert all('decoding="sync"' in shot for shot in shots)  # or they are black on a screenshot


def test_names_are_escaped(few):
    page = text(few)
    assert NAME not in page
    assert page.count(str(escape(NAME))) >= 4  # the picture's label, its caption, the tag there, and its subset
    assert "<set>" not in page


def test_refers_to_nothing_outside(few):
    page = text(few)
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"|url\((?!#)|@import|https?://', page)
    assert "default-src 'none'" in page


def test_parts_that_were_not_measured_are_left_out(few):
    parts = ("families", "pranet", "lesions", "subsets", "calibration", "curves", "leakage", "promises", "run")
    seen = words(text(change(few, **dict.fromkeys((*parts, "frames_without_polyp")))))
    assert "mean Dice 0.800" in seen
    for title in ("Three means", "PraNet", "Recall", "Subsets", "Reliability", "threshold on", "Leakage", "What was"):
        assert title not in seen


def test_words_of_the_field(few):
    seen = words(text(few)).lower()
    for word in ("figure", "healthy", "anew", "told"):
        assert not re.search(rf"\b{word}s?\b", seen)


def test_contents_lead_to_every_section(few):
    page = text(few)
    links = re.findall(r'<a href="#([^"]+)"', page)
    assert links == re.findall(r'<h2 id="([^"]+)"', page)
    assert {"metrics", "curves", "gallery"} <= set(links)


def test_bare_run(few):
    """No frame has a polyp, and nothing was measured."""
    rows(few, lambda content: content.splitlines()[0] + "\n")
    files.write_json(few / "summary.json", {"frames": 0, "frames_with_polyp": {"count": 0, "mean": {}}})
    assert "0 frames" in words(text(few))


def test_pictures_that_have_gone(few):
    (few / "image" / "2.png").unlink()
    for kind in ("image", "truth", "prediction"):
        (few / kind / "0.png").write_bytes(b"not a picture")
    page = text(few)
    assert "without image, which cannot be read" in page
    assert "the pictures have gone" in page
    assert page.count("data:image/jpeg") == 3
    assert "mean Dice 0.800" in words(page)


def test_probability_maps_are_cut_at_the_threshold(few):
    ramp = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (80, 1))
    files.write_png(few / "prediction" / "0.png", ramp)

    def right_of(threshold: float) -> float:
        page = text(change(few, run={"threshold": threshold}))
        shot = next(s for s in page.split('<figure class="shot"')[1:] if escape(NAME) in s)
        return int(re.search(r'class="prediction" d="M(\d+)', shot)[1]) / 480

    assert right_of(0.25) == pytest.approx(0.25, abs=0.02)
    assert right_of(0.75) == pytest.approx(0.75, abs=0.02)


def test_outlines_keep_small_polyps(make_run):
    speck = disc(1000, 500, 3, size=(1920, 1080))
    page = text(make_run([(speck, disc(0, 0, 0, size=(1920, 1080)))]))
    assert re.search(r'class="truth" d="M(249|250) (124|125)', page)


@pytest.mark.slow
def test_a_thousand_misses_stay_below_15_mb(make_run):
    """Of images that are noise, and one prediction in forty too: the largest that there are."""
    truths = [disc(100, 80, 20 + i, size=(200, 160)) for i in range(40)]
    specks = np.random.default_rng(0).integers(0, 2, (160, 200), np.uint8)
    run = make_run([(truth, specks * (i == 0) & ~truth & 1) for i, truth in enumerate(truths)], noise=True)
    rows(run, lambda content: content.splitlines()[0] + "\n" + "\n".join(content.splitlines()[1:] * 25) + "\n")
    told_of(run, 1000)
    page = text(run)
    assert page.count('class="shot"') == 1000
    assert len(page.encode()) < 15e6
    widths = [int(width) for width in re.findall(r'alt="" width="(\d+)"', page)]
    assert min(widths[:24]) > max(widths[24:])  # the worst are larger


def test_more_than_can_be_shown(few, monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 1)
    rows(few, lambda content: content + content.splitlines()[-1] + "\n")
    told_of(few, 7)
    page = text(few)
    assert "2 false alarms: frames without a polyp, prediction not empty (here the 1 largest)" in page
    assert page.count("<b>false alarm</b>") == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("summary.json", None, "no run to report on, summary.json is missing"),
        ("frames.csv", None, "no run to report on, frames.csv is missing"),
        ("summary.json", "{", "summary.json: cannot be read"),
        ("summary.json", "[]", "summary.json: cannot be read"),
        ("summary.json", '{"frames": 6, "leakage": {"leaked": true}}', "summary.json: not as a run's summary is"),
        ("summary.json", '{"frames": 6, "lesions": [1]}', "summary.json: not as a run's summary is"),
        ("frames.csv", "name,dice\na,0.5\n", "frames.csv: cannot be read"),
        (
            "frames.csv",
            "name,width,height,polyp_pixels,predicted_pixels,dice\na,9,9,1",
            "frames.csv: a line of it ends",
        ),
        ("frames.csv", "name,width,height,polyp_pixels,predicted_pixels\na,0,9,1,1\n", "a is 0 x 9 pixels"),
        *[
            (
                "frames.csv",
                f"name,width,height,polyp_pixels,predicted_pixels,dice\na,9,9,1,1,{dice}\n",
                f"line 2: dice is '{dice}'",
            )
            for dice in ("7", "-1", "nan", "inf", "x")
        ],
        ("summary.json", '{"frames": 1}', "holds 6 rows of the 1 frame that summary.json tells of"),
        ("frames.csv", b"\xff\xfe\x00", "frames.csv: not a CSV file in UTF-8"),
    ],
)
def test_broken_run(few, name, content, said):
    path = few / name
    path.unlink() if content is None else path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PolypError, match=re.escape(said)) as caught:
        write(few)
    assert "\n" not in str(caught.value)
    assert not (few / "report.html").exists()
