"""What the theme's pages lack for screen readers: names of buttons that only have a picture."""

from pathlib import Path

NAMES = (
    (
        '<summary><span class="toctree-toggle"',
        '<summary aria-label="Show or hide the pages of this section"><span class="toctree-toggle"',
    ),
    # The button says "Search Ctrl+K": its name is what it says.
    ('title="Search" aria-label="Search"', 'title="Search" aria-label="Search Ctrl+K"'),
)


def name_buttons(app, exception):
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            text = named = path.read_text("utf-8")
            for bare, with_name in NAMES:
                named = named.replace(bare, with_name)
            if named != text:
                path.write_text(named, "utf-8")


def setup(app):
    app.connect("build-finished", name_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
