"""The pages of studies in a real browser: wide and narrow, without network, nothing overflowing."""

import pytest

from gatewise.report.study.write import write_front, write_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(studied, tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    write_page(studied, folder / "synthetic" / "index.html", [("softmax", "near", "loss exact")])
    write_front([(folder / "synthetic", studied)], folder / "index.html")
    return {"front": folder / "index.html", "study": folder / "synthetic" / "index.html"}


def opened(browser, page, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())


def unfolded(browser):
    browser.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")


def coloured(browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["front", "study"])
def test_a_page_is_whole_at_every_width(browser, pages, name, width):
    opened(browser, pages[name], width)
    unfolded(browser)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [url for url in asked if not url.startswith("data:")] == []
    cut = "return [...document.querySelectorAll('td, .verdict')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert browser.execute_script(cut) == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_pictures_are_large_enough_and_have_words_instead(browser, pages, width):
    opened(browser, pages["study"], width)
    unfolded(browser)
    script = "return [...document.querySelectorAll('figure')].map(f => [f.querySelector('svg').getBoundingClientRect()"
    script += ".width, f.querySelector('[role=img]').getAttribute('aria-label').length])"
    found = browser.execute_script(script)
    assert len(found) > 20
    assert all(wide > 280 and words > 60 for wide, words in found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_can_be_read(browser, pages, scheme):
    """Text against its ground has a contrast of 4.5 or more (WCAG 2, level AA)."""
    opened(browser, pages["study"], 1280)
    coloured(browser, scheme)
    script = "return [...document.querySelectorAll('.verdict')].map(v => getComputedStyle(v))"
    looks = browser.execute_script(script + ".map(s => [s.color, s.backgroundColor])")
    body = browser.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    coloured(browser, "light")
    assert len({tuple(look) for look in looks}) == 5
    assert (luminance(body[1]) < 0.1) == (scheme == "dark")
    for ink, ground in [*looks, body]:
        light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def luminance(colour):
    parts = [int(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["front", "study"])
def test_a_page_begins_with_its_picture_and_takes_few_screens_before_parts_are_unfolded(browser, pages, name):
    opened(browser, pages[name], 1280)
    assert browser.execute_script("return document.querySelector('figure').getBoundingClientRect().top") < 900
    assert browser.execute_script("return document.documentElement.scrollHeight") <= 5 * 900


def test_the_front_page_leads_to_the_study(browser, pages):
    opened(browser, pages["front"], 1280)
    browser.find_element("css selector", "[aria-labelledby=rates] summary").click()
    browser.find_element("css selector", "table.matrix .verdict").click()
    assert browser.title == "Errors with known slopes"
