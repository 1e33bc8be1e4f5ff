"""The pages of the API reference, one per public module, from the tables of public-names.md."""

import importlib
import re
from pathlib import Path

CALLABLES = (type, type(lambda: None))


def doors(page):
    """The public modules, each with the text above its table and the rows ``(purpose, names)``."""
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        door, _, body = part.partition("\n")
        rows = [row.strip("| ").split("|") for row in body.splitlines() if row.startswith("|")][2:]
        lead = body.partition("\n|")[0].strip()
        yield door.strip("`"), lead, [(row[0].strip(), re.findall(r"`(\w+)`", row[-1])) for row in rows]


def is_constant(thing):
    """Whether a name stands for a value, whose text autodoc could not find, instead of a class or a function."""
    return not isinstance(thing, CALLABLES)


def group(module, purpose, names):
    """One heading with the table of its names; constants stand on a page of their own."""
    heading = (purpose[0].upper() + purpose[1:]).replace("`", "").replace("_", r"\_")
    constants = [name for name in names if is_constant(getattr(module, name))]
    others = [name for name in names if name not in constants]
    lines = [heading, "-" * len(heading), ""]
    if constants:
        listed = ", ".join(f":py:data:`~{module.__name__}.{name}`" for name in constants)
        lines += [f"Constants: {listed}.", ""]
    if others:
        lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in others] + [""]
    return lines


def page_of(door, lead, groups):
    module = importlib.import_module(door)
    laws = [name for name in module.__all__ if name.startswith("law_")]
    lines = [door, "=" * len(door), "", lead.replace("`", "``"), "", f".. currentmodule:: {door}", ""]
    for purpose, names in [*groups, *([("single laws", laws)] if laws else [])]:
        lines += group(module, purpose, names)
    return "\n".join(lines)


def write_pages(app, config):
    source = Path(app.srcdir)
    for door, lead, groups in doors((source / "public-names.md").read_text("utf-8")):
        path, text = source / "api" / f"{door}.rst", page_of(door, lead, groups)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def skip(app, what, name, thing, skipped, options):
    """Leave out fields, which the table of attributes describes, and what scikit-learn adds for metadata routing."""
    field = (getattr(thing, "__doc__", None) or "").startswith("Alias for field number")
    routing = name == "get_metadata_routing" or (name.startswith("set_") and name.endswith("_request"))
    return True if field or routing else None


def setup(app):
    app.connect("config-inited", write_pages)  # before autosummary looks for pages
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
