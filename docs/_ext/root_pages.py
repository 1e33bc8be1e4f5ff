"""Pages of the repository's root in the site, and the links that lead there and back."""

import re

PAGES = ("contributing", "changelog")  # docs/NAME.md leads readers of the repository to ../NAME.md


def shown(app, docname, source):
    """Show the root's page in place of the pointer to it, and lead links to a root's page to its place in the site."""
    if docname in PAGES:
        text = (app.srcdir.parent / f"{docname.upper()}.md").read_text("utf-8")
        source[0] = text.replace("](docs/", "](")
    else:
        names = "|".join(PAGES).upper()
        source[0] = re.sub(rf"\]\(((?:\.\./)*)\.\./({names})\.md", lambda m: f"]({m[1]}{m[2].lower()}.md", source[0])


def setup(app):
    app.connect("source-read", shown)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
