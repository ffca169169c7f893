"""The page in a real Chromium, before a small service whose probabilities are known."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .browser import PAGE, Page, Small, blobs, chromium, expected, png

pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
TWO = blobs((90, 80, 30, 1), (220, 170, 22, 0.7))
LEVELS = (60, 128, 150, 200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def driver(folder):
    with chromium(folder) as driver:
        yield driver


@pytest.fixture
def small():
    server = Small()
    yield server
    server.close()


@pytest.fixture
def page(driver, small, folder):
    page = Page(driver, small.address, folder).ready()
    yield page
    assert page.log() == []
    assert page.is_alone()


def frame(folder: Path, name: str, pixels: np.ndarray, **options: object) -> Path:
    path = folder / name
    Image.fromarray(pixels).save(path, **options)
    return path


def test_slider_finds_what_the_service_finds(page, tmp_path):
    page.choose(frame(tmp_path, "two.png", TWO))
    page.read(1)
    for level in LEVELS:
        page.slide(level)
        polyps = expected(TWO, level)
        shown = [
            [str(i), f"{p.area:,.0f} px", _percent(p.area / TWO.size), _percent(p.confidence)]
            for i, p in enumerate(polyps, 1)
        ]
        assert [row[:4] for row in page.rows()] == shown
        assert page.count(".pane.contour .line") == len(polyps)
        saved = Image.open(page.saved("mask", "two.png"))
        assert saved.mode == "L"
        assert np.array_equal(np.asarray(saved), np.where(level <= TWO, 255, 0))
    page.slide(255)
    assert page.text(".headline").split() == ["No", "polyps", "at", "this", "threshold"]


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.0995 else f"{share * 100:.1f} %"


def test_regions_are_those_of_python(driver, small):
    """Noise of many scales: components, boxes, areas, order, confidences, and outlines that hold the region."""
    driver.get(small.address)
    random = np.random.default_rng(0)
    for _ in range(12):
        import cv2

        width, height, level = (int(random.integers(*ends)) for ends in ((20, 160), (20, 160), (60, 200)))
        gray = cv2.GaussianBlur(random.random((height, width)).astype(np.float32), (0, 0), random.uniform(1, 6))
        gray = (255 * (gray - gray.min()) / np.ptp(gray)).round().astype(np.uint8)
        script = """const [map, width, height, level, done] = arguments;
            import("/static/regions.js").then(({findPolyps}) =>
                done(findPolyps({map: Uint8Array.from(map), width, height}, level)))"""
        found = driver.execute_async_script(script, gray.ravel().tolist(), width, height, level)
        polyps = expected(gray, level)
        assert [(p["box"], p["area"]) for p in found] == [
            ([p.box[0], p.box[1], p.box[2] - p.box[0], p.box[3] - p.box[1]], p.area) for p in polyps
        ]
        assert [p["confidence"] for p in found] == pytest.approx([p.confidence for p in polyps], abs=1e-5)
        _, labels = cv2.connectedComponents((gray >= level).astype(np.uint8), connectivity=8)
        for ours in found:
            outline = np.array(ours["polygons"][0], np.float32)
            mid = np.argwhere(labels == labels[tuple(_first(gray >= level, ours["box"], labels))]) + 0.5
            inside = [cv2.pointPolygonTest(outline, (float(x), float(y)), True) for y, x in mid]
            assert min(inside) > -0.5  # pixels; the outline may leave out a quarter of one


def _first(mask: np.ndarray, box: list[float], labels: np.ndarray) -> np.ndarray:
    """The pixel of the region of a box that is nearest to its top: every region touches the four sides of its box."""
    x, y, w, h = map(int, box)
    for column in np.flatnonzero(mask[y, x : x + w]) + x:
        rows, columns = np.nonzero(labels == labels[y, column])
        if (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1) == (x, y, w, h):
            return np.array([y, column])
    raise AssertionError(box)


def test_marks_and_keys(page, tmp_path):
    page.choose(*(frame(tmp_path, f"{i}.png", blobs((60 + 20 * i, 90, 25, i % 2))) for i in range(5)))
    page.read(5)
    page.says("#count", "5 frames · 2 with a polyp")
    marks = page.text(".marks")
    assert "bundle's own" in marks
    assert "misses up to 10%" in marks
    from selenium.webdriver.common.keys import Keys

    assert "0.png" in page.text("#title")
    for keys, name in (
        ([Keys.ARROW_RIGHT], "1.png"),
        (["n"], "3.png"),
        (["p"], "1.png"),
        ([Keys.END], "4.png"),
        ([Keys.HOME], "0.png"),
    ):
        page.press(*keys)
        page.until(f"document.querySelector('#title').innerText.includes('{name}')")
    page.press("t", "h")
    assert page.text(".threshold output") == "0.390"  # level 100, where the calibrated threshold lies
    page.until("document.querySelector('.pane.heat')")
    page.press("m", "o")
    page.until("document.querySelectorAll('.pane').length === 1 && document.querySelector('.pane.mask')")
    page.press("?")
    assert page.count("dialog[open] kbd") > 10
    page.press("c")  # in a dialog keys do nothing
    assert page.count(".pane.mask") == 1
    page.click("#letters")
    page.press(Keys.ESCAPE, "c")
    assert page.count(".pane.mask") == 1
    page.run("localStorage.clear()")


def test_two_bundles_side_by_side(page, tmp_path):
    page.choose(frame(tmp_path, "two.png", TWO))
    page.read(1)
    page.select("beside", "dimmer")
    page.until("document.querySelector('.reading.b .headline b')?.innerText")
    assert page.count(".pane") == 2
    assert [row[1] for row in page.rows("b")] == [f"{p.area:,.0f} px" for p in expected(TWO // 2, 128)]
    page.slide(64, "b")
    assert len(page.rows("b")) == len(expected(TWO // 2, 64)) == 2
    assert len(page.rows("a")) == 2  # its slider has not moved
    a, b = TWO >= 128, TWO // 2 >= 64
    assert page.text(".agreed b") == f"{2 * (a & b).sum() / (a.sum() + b.sum()):.3f}"
    page.select("bundle", "dimmer")
    page.until("document.querySelectorAll('.reading').length === 1")
    page.until("document.querySelector('.reading.a .headline b')?.innerText === 'No'")


def test_downloads(page, tmp_path):
    page.choose(frame(tmp_path, "a.png", TWO), frame(tmp_path, "=b.png", blobs((0, 0, 9, 0))))
    page.read(2)
    page.until("document.querySelector('#title').innerText.includes('=b')")
    answer = json.loads(page.saved("json", "frames.json").read_text())
    first = {frame["name"]: frame for frame in answer["readings"][0]["results"]}
    assert first["=b.png"]["polyps"] == []
    assert [p["area"] for p in first["a.png"]["polyps"]] == [p.area for p in expected(TWO, 128)]
    rows = list(csv.DictReader(io.StringIO(page.saved("csv", "frames.csv").read_text())))
    assert [(row["image"], row["polyp"]) for row in rows] == [("'=b.png", ""), ("a.png", "1"), ("a.png", "2")]
    assert [float(row["confidence"]) for row in rows[1:]] == pytest.approx(
        [p.confidence for p in expected(TWO, 128)], abs=1e-4
    )
    page.click("#next")
    page.until("document.querySelectorAll('.pane.contour .line').length === 2")
    drawn = np.asarray(Image.open(page.saved("overlay", "a-overlay.png")).convert("RGB")).astype(int)
    assert drawn.shape == (*TWO.shape, 3)
    assert (drawn[..., 0] - drawn[..., 2] > 100).sum() > 200  # yellow, where there was gray alone


def test_wrong_files_and_a_busy_service(page, small, tmp_path):
    small.busy = 1
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    page.choose(tmp_path / "notes.txt", tmp_path / "empty.png", frame(tmp_path, "two.png", TWO))
    page.until("document.querySelector('#alert span').textContent.includes('busy')")
    page.read(3)
    assert page.count("#alert") == 0
    page.says("#count", "3 frames · 1 with a polyp · 2 not readable")
    names = [page.run("return document.querySelectorAll('#film li button')[arguments[0]].title", i) for i in (0, 1)]
    assert names == ["empty.png: The file is empty.", "notes.txt: frame: is not an image that polyp knows"]
    assert all("429" in line or "400" in line for line in page.log())  # the browser's own words on these answers


def test_token(driver, small, folder, tmp_path):
    small.token = "right"
    page = Page(driver, small.address, folder)
    page.until("document.querySelector('dialog[open]#token')")
    for given in ("wrong", "right"):
        page.until("document.querySelector('dialog[open]#token')")
        assert bool(page.count("#token-wrong")) == (given == "right")
        page.driver.find_element("id", "token-value").send_keys(given)
        page.click("#token .primary")
    page.ready()
    page.until("document.querySelector('#samples img[src]')")
    page.click("#samples button")
    page.read(1)
    assert len(page.rows()) == 1
    page.run("sessionStorage.clear()")


def test_service_that_has_gone(driver, folder, tmp_path):
    small = Small()
    page = Page(driver, small.address, folder).ready()
    small.close()
    page.choose(frame(tmp_path, "two.png", TWO))
    page.until("document.querySelector('#alert span').textContent.includes('does not answer')")
    assert page.count("#again") == 1
    assert all("ERR_CONNECTION" in line or "ERR_EMPTY" in line for line in page.log())


def test_folder(page, tmp_path):
    """Hidden files and what is no image are passed over; names keep their folders."""
    (tmp_path / "set/deep").mkdir(parents=True)
    for name in ("set/10.png", "set/9.png", "set/deep/1.png", "set/.hidden.png"):
        frame(tmp_path, name, TWO)
    (tmp_path / "set/notes.txt").write_text("")
    page.choose(tmp_path / "set", field="folders")
    page.read(3)
    titles = page.run("return [...document.querySelectorAll('#film li button')].map(b => b.title)")
    assert titles == ["set/9.png", "set/10.png", "set/deep/1.png"]


def test_cancel_and_go_on(page, small, tmp_path):
    small.delay = 0.1
    page.choose(*(frame(tmp_path, f"{i:02}.png", TWO[:64, :64]) for i in range(40)))
    page.until("document.querySelectorAll('#film button.read').length > 2")
    page.click("#cancel")
    page.until("!document.querySelector('#reread').hidden")
    left = page.count("#film button.waiting")
    assert 0 < left < 40
    assert page.text("#reread") == f"Read the other {left}"
    small.delay = 0
    page.click("#reread")
    page.read(40)
    page.slide(200)
    page.until("!document.querySelector('#reread').hidden")
    page.click("#reread")
    page.until("document.querySelector('#reread').hidden && document.querySelector('#cancel').hidden")
    assert {query["threshold"] for query in small.asked[-30:]} == {str(199.5 / 255)}


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_everyone_can_use_it(page, tmp_path, scheme):
    """axe-core finds nothing serious, in the empty state, with frames, side by side, and in the dialogs."""
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page.scheme(scheme)

    def serious() -> list[str]:
        page.run("return new Promise(done => setTimeout(done, 300))")  # transitions
        page.driver.execute_script(script)
        found = page.driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical")]

    assert serious() == []
    page.click("#help")
    assert serious() == []
    page.press("\ue00c")
    page.choose(*(frame(tmp_path, f"{i}.png", TWO) for i in range(3)))
    page.read(3)
    page.select("beside", "dimmer")
    page.until("document.querySelector('.reading.b .headline b')?.innerText")
    assert serious() == []
    said = page.until("document.querySelector('#status').textContent")
    assert said.startswith("Frame 1 of 3, 0.png: 2 polyps at 0.500")


def test_fits_every_screen(page, tmp_path):
    def fits() -> bool:
        for width in (320, 390, 768, 1024, 1400, 2560):
            page.size(width)
            if page.run("return document.documentElement.scrollWidth") > width:
                return False
        return True

    assert fits()
    long = "a-name-without-a-space-" * 6
    page.choose(frame(tmp_path, f"{long}.png", TWO), *(frame(tmp_path, f"{i}.png", TWO) for i in range(30)))
    page.read(31)
    page.select("beside", "dimmer")
    page.until("document.querySelector('.reading.b .headline b')?.innerText")
    assert fits()
    page.size(1400)
    assert page.run("return document.documentElement.scrollHeight") == 900


def test_no_address_outside():
    """No other host is named in the page, but for those of XML name spaces."""
    for file in PAGE.iterdir():
        named = [word for word in file.read_text(encoding="utf-8").replace('"', " ").split() if "://" in word]
        assert [word for word in named if not word.startswith("http://www.w3.org/")] == []
    for script in PAGE.glob("*.html"):
        assert " style=" not in script.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_thousand_frames(page, small, tmp_path):
    """Memory stays: a thousand maps of a megapixel would be a gigabyte."""
    large = png(blobs((400, 300, 120, 1), size=(1280, 800)))
    for i in range(1000):
        (tmp_path / f"{i:04}.png").write_bytes(large)
    page.choose(*sorted(tmp_path.glob("*.png")))
    done = "document.querySelectorAll('#film button.read').length"
    page.until(f"{done} >= 100", 300)

    before = page.megabytes()
    page.until(f"{done} === 1000", 900)
    assert page.megabytes() < before + 150
    page.says("#count", "1,000 frames · 1,000 with a polyp")
