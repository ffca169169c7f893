"""The report in a real Chromium: no error, no request, and its controls work."""

from __future__ import annotations

import json
import shutil

import pytest

from polyp_monai.report import write

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


def test_report_in_a_browser(browser, few):
    address = write(few).as_uri()
    browser.get(address)
    for width in (360, 820, 1400):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width

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

    assert browser.get_log("browser") == []
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    own = ("data", "chrome", "chrome-untrusted")  # the browser's own pages are logged too
    assert {url for url in sent if url.partition(":")[0] not in own} == {address}
