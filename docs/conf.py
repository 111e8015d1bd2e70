"""How the site is built: `make docs`. Warnings are errors. Nothing is fetched, not by the build and not by readers."""

import sys
from pathlib import Path

# The packages as they lie here, and this folder for the extension `docstrings`.
for folder in (".", "..", "../client"):
    sys.path.insert(0, str((Path(__file__).parent / folder).resolve()))

project = "Latent Codes"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "docstrings"]
exclude_patterns = ["figures"]

html_theme = "furo"
html_title = "Latent Codes"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"footer_icons": []}

# Headings can be linked to by the names that GitHub gives them, so that links work there too.
myst_heading_anchors = 4

# The order of the source is that in which its author wanted it to be read.
autodoc_member_order = "bysource"
autoclass_content = "both"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
