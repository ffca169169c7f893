"""The report in a real Chromium: no error, no request, and its controls work."""

from __future__ import annotations

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from polyp_monai.report import write
from polyp_monai.report.audit import write as write_audit

from .conftest import disc

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
VISIBLE = "return [...document.querySelectorAll('.shot')].filter(s => s.checkVisibility()).length"


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def resize(browser, width: int, height: int = 900) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def fits(browser) -> bool:
    """At no width has the page to be pushed sideways."""
    for width in (360, 820, 1400):
        resize(browser, width)
        if browser.execute_script("return document.documentElement.scrollWidth") > width:
            return False
    return True


def is_alone(browser, address: str) -> bool:
    """No error, and nothing was fetched but the page itself."""
    assert browser.get_log("browser") == []
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    own = ("data", "chrome", "chrome-untrusted")  # the browser's own pages are logged too
    return {url for url in sent if url.partition(":")[0] not in own} == {address}


def test_report_in_a_browser(browser, few):
    address = write(few).as_uri()
    browser.get(address)
    assert fits(browser)

    def choose(**values: object) -> int:
        """Sets controls of the filter and counts the frames that are left."""
        script = """for (const [name, value] of Object.entries(arguments[0])) form.elements[name].value = value;
            form.dispatchEvent(new Event("input"));"""
        browser.execute_script(script, values)
        return browser.execute_script(VISIBLE)

    assert choose() == 5
    assert choose(size="small") == 4
    assert choose(size="none") == 1
    assert choose(size="", kind="miss") == 1
    assert choose(kind="", low="0.5") == 3
    assert choose(low="0", high="0.5") == 1
    assert choose(high="1") == 5

    find = browser.find_element
    find("css selector", ".shot .picture").click()
    assert find("css selector", "dialog[open] .more").is_displayed()
    first = find("css selector", "dialog img").get_attribute("src")
    assert first.startswith("data:image/jpeg")
    assert "missed" in find("css selector", "dialog figcaption").text
    find("css selector", 'dialog [value="1"]').click()
    assert "missed" not in find("css selector", "dialog figcaption").text
    find("css selector", 'dialog [value="bare"]').click()
    assert not find("css selector", "dialog .picture svg").is_displayed()
    find("css selector", 'dialog [value="close"]').click()
    assert not browser.execute_script("return document.querySelector('dialog').open")

    assert is_alone(browser, address)


def test_pictures_are_there_when_the_page_is(browser, make_run):
    """A screenshot of the whole page, taken at once, shows every picture."""
    polyp = disc(480, 360, 100, size=(960, 720))
    browser.get(write(make_run([(polyp, polyp)] * 48)).as_uri())
    resize(browser, 1200)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    resize(browser, 1200, height)
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    page = np.asarray(Image.open(io.BytesIO(base64.b64decode(taken))).convert("L"))
    places = browser.execute_script("""return [...document.querySelectorAll('.picture img')].map(image => {
        const place = image.getBoundingClientRect();
        return [place.x, place.y, place.width, place.height]; })""")
    assert len(places) == 48
    for x, y, width, height in places:
        assert page[int(y) + 20 : int(y + height) - 20, int(x) + 20 : int(x + width) - 20].mean() > 60


def test_audit_in_a_browser(browser, dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "set")
    address = write_audit(folder).as_uri()
    browser.get(address)
    assert fits(browser)
    assert browser.execute_script(VISIBLE) == 20
    browser.execute_script("form.elements.split.value = 'test'; form.dispatchEvent(new Event('input'));")
    assert browser.execute_script(VISIBLE) == 2
    browser.find_element("css selector", ".shot:not([hidden]) .picture").click()
    assert browser.find_element("css selector", "dialog[open] .more").is_displayed()
    assert is_alone(browser, address)
