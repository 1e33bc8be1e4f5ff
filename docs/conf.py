"""The documentation site: `make docs` builds it into out/docs, without the network."""

import sys
from pathlib import Path

import gatewise

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "gatewise"
author = "gatewise developers"
project_copyright = "gatewise developers, BSD-3-Clause"
version = release = gatewise.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "api_pages",
    "root_pages",
    "mathml",
    "accessible",
    "checked",
]
exclude_patterns = ["gallery", "_ext", "**/sg_execution_times.rst", "sg_execution_times.rst"]
templates_path = ["_templates"]

# Markdown stays as GitHub reads it: tables, links to headings, and $formulas$.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

autosummary_generate = True
autosummary_imported_members = True
default_role = "py:obj"  # `name` in a docstring leads to that name, where it is public
autodoc_typehints = "none"  # the docstrings say them
numpydoc_show_class_members = False  # the template of a class lists them with their text
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor output are copied

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "subsection_order": [f"gallery/{name}" for name in ("statistics", "theory", "layers")],
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e6,  # times are no result
    "backreferences_dir": None,
    "doc_module": (),
    "matplotlib_animations": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "gatewise"
html_static_path = ["_static"]
html_css_files = ["gatewise.css"]
html_show_sourcelink = False
html_copy_source = False
html_last_updated_fmt = None
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {"start": [], "index": []}
