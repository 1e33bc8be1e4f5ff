"""The page of the demonstration in a real browser: wide and narrow, without network, nothing overflowing."""

import json

import pytest
from typer.testing import CliRunner

from gatewise.cli import app
from gatewise.report import demo

pytestmark = pytest.mark.browser
SIZES = "return [...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect(), s.getBBox()])"
SIZES += ".map(([r, b]) => [r.width, r.height, b.width, b.height, r.right])"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "STARTS", 2)
        result = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out / "index.html"


def opened(browser, page, width):
    """Open the page at a width and return the URLs that it asked for."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("performance")
    browser.get(page.as_uri())
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole_at_every_width(browser, page, width, tmp_path):
    asked = opened(browser, page, width)
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    drawings = browser.execute_script(SIZES)
    assert len(drawings) == sum(len(case.choices) for case in demo.CASES)
    for shown_width, shown_height, *inside, right in drawings:
        assert min(shown_width, *inside) > 200
        assert shown_height > 300
        assert right <= width
    assert browser.save_screenshot(str(tmp_path / f"page-{width}.png"))
    assert (tmp_path / f"page-{width}.png").stat().st_size > 10_000


def test_text_is_dark_on_white(browser, page):
    opened(browser, page, 1280)
    style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    assert browser.execute_script(style) == ["rgb(26, 26, 26)", "rgb(255, 255, 255)"]


def test_every_picture_has_words_instead(browser, page):
    opened(browser, page, 1280)
    script = "return [...document.querySelectorAll('svg')].map(s => s.closest('[role=img]').getAttribute('aria-label'))"
    labels = browser.execute_script(script)
    assert all(len(label) > 60 for label in labels)
