"""What the pages lack for screen readers: names of buttons that only have a picture, words for untitled pictures."""

import re
from pathlib import Path

NAMES = (
    (
        '<summary><span class="toctree-toggle"',
        '<summary aria-label="Show or hide the pages of this section"><span class="toctree-toggle"',
    ),
    # The button says "Search Ctrl+K": its name is what it says.
    ('title="Search" aria-label="Search"', 'title="Search" aria-label="Search Ctrl+K"'),
)


def named(text):
    """The text of a page with a name for every button, and the title of the example as words for its pictures."""
    for bare, with_name in NAMES:
        text = text.replace(bare, with_name)
    title = re.search(r"<title>(.*?) &#8212;", text)
    return re.sub(r'alt="plot [\w ]+"', f'alt="Picture of the example: {title[1]}"', text) if title else text


def name_all(app, exception):
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            text = path.read_text("utf-8")
            if named(text) != text:
                path.write_text(named(text), "utf-8")


def setup(app):
    app.connect("build-finished", name_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
