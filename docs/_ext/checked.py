"""Checks of the finished pages: every link inside the site leads to a page and a place on it, and no page asks the
network for anything. What is found is a warning, so `make docs` fails.
"""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The places of a page, where its links lead, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.loads = {""}, set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        if given.get(LOADED.get(tag)):
            self.loads.add(given[LOADED[tag]])


@cache
def page(path):
    return Page(path.read_text("utf-8"))


def broken(path):
    """The links of a page, and what it loads, that lead nowhere in the site or out of it."""
    found = page(path)
    for link in sorted(found.links | found.loads):
        there = urlsplit(link)
        if there.scheme or there.netloc:
            if link in found.loads and there.scheme != "data":
                yield f"{link} is loaded from the network"
            continue
        target = (path.parent / unquote(there.path)).resolve() if there.path else path
        if not target.exists():
            yield f"{link}: there is no such page"
        elif target.suffix == ".html" and unquote(there.fragment) not in page(target).places:
            yield f"{link}: there is no such place"


def check(app, exception):
    if exception is None and app.builder.format == "html":
        root = Path(app.outdir)
        for path in sorted(set(root.rglob("*.html")) - set((root / "_static").rglob("*"))):
            for fault in broken(path):
                LOGGER.warning("%s: %s", path.relative_to(root), fault)


def setup(app):
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
