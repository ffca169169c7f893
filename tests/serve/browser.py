"""Chromium with the page in it, and a small service for it: the gray of a picture is its probability of polyp."""

from __future__ import annotations

import base64
import io
import json
import mimetypes
import os
import shutil
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image, ImageOps

from polyp_monai.metrics.lesions import size_class
from polyp_monai.metrics.regions import find_polyps

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PAGE = Path(__file__).parents[2] / "polyp_monai/serve/page"
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing outside can be reached
)
OWN = ("data", "blob", "chrome", "chrome-untrusted")


@contextmanager
def chromium(folder: Path):
    """A driver whose downloads land in folder/saved."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        saved = {"behavior": "allow", "downloadPath": str(folder / "saved")}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", saved)
        yield driver
    finally:
        driver.quit()


class Page:
    """The page in a browser, by what a user sees and does."""

    def __init__(self, driver, address: str, folder: Path) -> None:
        self.driver, self.address, self.folder = driver, address, folder
        driver.get("about:blank")
        driver.get_log("browser")
        driver.get_log("performance")
        self.size(1400)
        self.scheme("light")
        driver.get(address)

    def run(self, script: str, *given):
        return self.driver.execute_script(script, *given)

    def until(self, condition: str, seconds: float = 60):
        """What the JavaScript expression gives, once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.run(f"return {condition}"):
                return found
            time.sleep(0.05)
        raise AssertionError(f"not so in {seconds} s: {condition}; {self.text('#alert span')}; {self.log()}")

    def ready(self) -> Page:
        self.until("document.documentElement.dataset.ready")
        return self

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector).strip()

    def says(self, selector: str, words: str) -> None:
        self.until(f"document.querySelector('{selector}').innerText === '{words}'", 10)

    def count(self, selector: str) -> int:
        """How many can be seen."""
        script = "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).length"
        return self.run(script, selector)

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def choose(self, *paths: Path, field: str = "files") -> None:
        self.driver.find_element("id", field).send_keys("\n".join(map(str, paths)))

    def select(self, field: str, value: str) -> None:
        script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        self.run(script + " e.dispatchEvent(new Event('change', {bubbles: true}))", field, value)

    def slide(self, level: int, tone: str = "a") -> None:
        script = "const e = document.getElementById('level-' + arguments[0]); e.value = arguments[1];"
        self.run(script + " e.dispatchEvent(new Event('input'))", tone, level)
        self.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def size(self, width: int, height: int = 900) -> None:
        about = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", about)

    def scheme(self, name: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": name}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def read(self, frames: int) -> None:
        """Waits until so many frames have been read or refused, and the one on the stage is shown."""
        done = "document.querySelectorAll('#film button:is(.read, .failed)').length"
        self.until(f"{done} === {frames} && document.querySelector('#stage').ariaBusy === 'false'")

    def rows(self, tone: str = "a") -> list[list[str]]:
        script = """return [...document.querySelectorAll(`.reading.${arguments[0]} tbody tr`)].map(
            row => [...row.children].map(cell => cell.innerText.trim()))"""
        return self.run(script, tone)

    def saved(self, what: str, name: str) -> Path:
        path = self.folder / "saved" / name
        path.unlink(missing_ok=True)
        self.click(f"[data-save={what}]")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if path.exists() and not path.with_name(name + ".crdownload").exists():
                return path
            time.sleep(0.05)
        raise AssertionError(f"{name} was not saved: {sorted(path.parent.glob('*'))}")

    def megabytes(self) -> float:
        """What all processes of the browser hold."""
        self.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        own, statm = {self.driver.service.process.pid}, {}
        for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda folder: int(folder.name)):
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in own:
                    own.add(int(folder.name))
                    statm[folder.name] = int((folder / "statm").read_text().split()[1])
        return sum(statm.values()) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def log(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def is_alone(self) -> bool:
        """Nothing was asked of anyone but the service."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        sent += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
        asked = {urlsplit(url).netloc for url in sent if url.partition(":")[0] not in OWN}
        return asked == {urlsplit(self.address).netloc}


def blobs(*places: tuple[float, float, float, float], size: tuple[int, int] = (320, 256)) -> np.ndarray:
    """(H, W) uint8: bright hills at x, y with a width and a height, in pixels and 0..1."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    hills = [top * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * wide**2)) for cx, cy, wide, top in places]
    return (np.clip(np.max(hills, 0), 0, 1) * 255).round().astype(np.uint8)


def expected(gray: np.ndarray, level: int) -> list:
    """The polyps of such a picture at a level of the slider."""
    return find_polyps(gray.astype(np.float32) / 255, (level - 0.5) / 255, (0, 0, *gray.shape[::-1]))


class Small(ThreadingHTTPServer):
    """Answers as the service does. `busy`: how many answers are 429 first; `token`: what it wants; `delay`: seconds of
    a frame; `asked`: the queries of all frames."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.busy, self.token, self.delay, self.asked, self.gone = 0, None, 0.0, [], False
        self.address = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.gone = True
        self.shutdown()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Small

    def log_message(self, *_: object) -> None:
        pass

    def parse_request(self) -> bool:
        self.close_connection = self.server.gone
        return not self.server.gone and super().parse_request()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/" or path.startswith("/static/"):
            file = PAGE / (path.removeprefix("/static/") if path != "/" else "index.html")
            return self._say(200, file.read_bytes(), mimetypes.guess_type(file.name)[0] or "")
        if self._strange():
            return None
        if path == "/v1/bundles":
            return self._json(200, {"default": "gray", "bundles": [_facts("gray"), _facts("dimmer")], "source": None})
        if path == "/v1/samples":
            return self._json(200, {"samples": [{"name": "sample 1", "url": "/v1/samples/0.png"}]})
        return self._say(200, png(blobs((100, 90, 30, 1))), "image/png")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
        if self._strange():
            return None
        if self.server.busy:
            self.server.busy -= 1
            return self._json(429, {"error": "the queue is full"}, {"Retry-After": "1"})
        self.server.asked.append(query)
        time.sleep(self.server.delay)
        try:
            gray = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("L"))
        except OSError:
            return self._json(400, {"error": "frame: is not an image that polyp knows"})
        if self.headers["Accept"] == "image/png":
            return self._say(200, png(gray), "image/png")
        return self._json(200, _found(gray, query))

    def _strange(self) -> bool:
        wanted = self.server.token and f"Bearer {self.server.token}"
        if wanted and self.headers.get("Authorization") != wanted:
            self._json(401, {"error": "a token is needed"})
            return True
        return False

    def _json(self, status: int, content: dict, headers: dict[str, str] | None = None) -> None:
        self._say(status, json.dumps(content).encode(), "application/json", headers)

    def _say(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        from polyp_monai.serve.guard import HEADERS

        self.send_response(status)
        about = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        for name, value in about.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _facts(name: str) -> dict:
    about = {"name": name, "version": "1.0.0", "description": "", "image_size": 64, "threshold": 0.5}
    promise = [{"name": "misses up to 10%", "threshold": 100 / 255}] if name == "gray" else []
    return {**about, "calibrated": promise, "parameters": 1_500_000, "runtime": "none", "digest": "0"}


def _found(gray: np.ndarray, query: dict[str, str]) -> dict:
    if query["bundle"] == "dimmer":
        gray = (gray // 2).astype(np.uint8)
    threshold, height, width = float(query["threshold"]), *gray.shape
    polyps = [
        {
            "number": number,
            "box": [p.box[0], p.box[1], p.box[2] - p.box[0], p.box[3] - p.box[1]],
            "area": p.area,
            "share": p.area / gray.size,
            "size": size_class(p.area),
            "confidence": p.confidence,
            "polygons": [p.outline.tolist()],
        }
        for number, p in enumerate(find_polyps(gray.astype(np.float32) / 255, threshold, (0, 0, width, height)), 1)
    ]
    result = {"name": "frame", "width": width, "height": height, "threshold": threshold, "polyps": polyps}
    if query.get("probability") == "true":
        result["probability"] = "data:image/png;base64," + base64.b64encode(png(gray)).decode()
    return {"bundle": query["bundle"], "version": "1.0.0", "results": [{**result, "milliseconds": {"network": 1.0}}]}


def png(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(buffer := io.BytesIO(), format="PNG")
    return buffer.getvalue()
