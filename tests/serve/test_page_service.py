"""The page in a real Chromium, before the real service: files of all kinds, a camera, a clip."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp_monai.serve.limits import Limits
from polyp_monai.video.sink import VideoSink

from .browser import Page, chromium
from .conftest import drawn, running

pytest.importorskip("av")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def clip(folder) -> Path:
    """Two seconds, in which a polyp comes after half of one."""
    with VideoSink(folder / "clip.mp4", (240, 192), 10) as sink:
        for index in range(20):
            image = np.full((192, 240, 3), 60, np.uint8)
            if index >= 5:
                image[60:120, 80 + index : 160 + index] = (250, 20, 30)
            sink.write(image, index / 10)
    return folder / "clip.mp4"


@pytest.fixture(scope="module")
def address(loaded, clip):
    with running(loaded, Limits(), str(clip)) as (address, _):
        yield address + "/"


@pytest.fixture(scope="module")
def driver(folder):
    with chromium(folder) as driver:
        yield driver


@pytest.fixture
def page(driver, address, folder):
    page = Page(driver, address, folder).ready()
    yield page
    assert page.log() == []
    assert page.is_alone()


def answer(address: str, path: str, query: str, accept: str = "application/json") -> bytes:
    about = {"Content-Type": "application/octet-stream", "Accept": accept}
    request = urllib.request.Request(f"{address}v1/predict?{query}", Path(path).read_bytes(), about)
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def kinds(folder: Path) -> list[Path]:
    frame = drawn(2, (240, 192))
    image, gray = Image.fromarray(frame), Image.fromarray(frame).convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    image.save(folder / "a.jpg", quality=95)
    image.save(folder / "b.png")
    image.save(folder / "c.tif")
    image.save(folder / "d.webp", lossless=True)
    image.save(folder / "e.bmp")
    import nibabel

    nibabel.Nifti1Image(frame.transpose(1, 0, 2)[:, :, None], np.eye(4)).to_filename(folder / "f.nii.gz")
    gray.save(folder / "g-gray.png")
    image.convert("RGBA").save(folder / "h-rgba.png")
    image.save(folder / "i-turned.jpg", quality=95, exif=turned)
    image.resize((16, 12)).save(folder / "j-tiny.png")
    return sorted(folder.iterdir())


def test_ten_kinds_of_file(page, tmp_path):
    """Each is shown, and its mask at two thresholds is the service's."""
    paths = kinds(tmp_path)
    page.choose(*paths)
    page.until("document.querySelectorAll('#film li button').length === 10")
    page.read(10)
    page.run("document.querySelector('#film li button').click()")
    for path in paths:
        page.until(f"document.querySelector('#title').innerText.includes('{path.name}')")
        page.until("document.querySelector('#stage').ariaBusy === 'false'")
        assert page.count(".pane") == 2, page.text("#panes")
        for level in (128, 40):
            page.slide(level)
            query = f"threshold={(level - 0.5) / 255}"
            found = json.loads(answer(page.address, path, query))["results"][0]
            assert [row[1] for row in page.rows()] == [f"{p['area']:,} px" for p in found["polyps"]]
            theirs = np.asarray(Image.open(io.BytesIO(answer(page.address, path, query, "image/png"))))
            name = re.sub(r"(\.nii)?\.\w+$", ".png", path.name)
            assert np.array_equal(np.asarray(Image.open(page.saved("mask", name))), theirs)
            size = page.run("const c = document.querySelector('.base'); return [c.height, c.width]")
            assert tuple(size) == theirs.shape
        page.slide(128)
        if path != paths[-1]:
            page.press("\ue014")
    assert page.text("#count").startswith("10 frames · ")


def test_no_image(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    page.choose(tmp_path / "notes.txt")
    page.until("document.querySelector('.explain')")
    assert len(page.text(".explain").splitlines()) == 1
    assert page.text(".headline") == "Not read"
    assert all("400" in line for line in page.log())


def test_clip(page, clip):
    page.choose(clip)
    page.until("document.querySelector('.headline small')?.innerText === 'in 20 frames'")
    rows = list(csv.DictReader(io.StringIO(page.saved("csv", "clip.csv").read_text())))
    assert len(rows) == int(page.text(".headline b")) == page.count(".lane")
    assert rows
    assert all(0 <= float(row["first_seconds"]) <= float(row["last_seconds"]) <= 2 for row in rows)
    page.click(".lane button")
    page.until("document.querySelectorAll('#screen .line').length > 0")
    page.click("[name=how][value=playing]")
    page.run("document.querySelector('video').play()")
    page.until("/frames\\/s/.test(document.querySelector('#clock').innerText)")
    page.until("document.querySelectorAll('#screen .line').length > 0")
    page.click("#keep")
    page.click("#leave")
    page.until("document.querySelectorAll('.pane').length === 2")
    assert re.match(r"clip-\d+\.\d\ds\.jpg", page.text("#title"))


def test_camera(page):
    page.click("[data-act=camera]")
    page.until("/\\d+ ms/.test(document.querySelector('#clock').innerText)")
    assert page.run("return document.querySelector('video').videoWidth") > 0
    page.click("#leave")
    page.until("document.documentElement.dataset.mode === 'empty'")
    assert not page.run("return document.querySelector('video').srcObject")


def test_source(page, clip):
    page.choose(clip)  # the buttons above are there, once something is on the stage
    page.click("#source")
    page.until("document.querySelector('#screen img').naturalWidth === 240")
    page.until("document.querySelector('.headline small')?.innerText === 'now'")
    page.click("#leave")
