"""How Sphinx makes the site of these documents: ``make docs``. What its pages generate is in ``scripts/site``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from enarx import __version__

project = "Enarx in Python"
author = "the contributors"
copyright = "the contributors, Apache-2.0"  # noqa: A001 - Sphinx's name for it
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "scripts.site.extension"]
nitpicky = False
default_role = "code"  # single backquotes in docstrings are names
exclude_patterns = ["_*"]

myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = f"Enarx in Python {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_last_updated_fmt = None  # the same input gives the same site
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
