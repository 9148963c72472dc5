"""The pages as a site: `sphinx-build -W -c docs/site . build/site`, then open `build/site/index.html`."""

from typing import Any

from docutils.nodes import Node, SkipNode
from latex2mathml.converter import convert

project = "jaxbn"
extensions = ["myst_nb", "sphinx_external_toc"]
include_patterns = ["*.md", "docs/*.md", "experiments/README.md", "experiments/tutorial.ipynb"]
external_toc_path = "docs/site/toc.yml"

# The pages are written for GitHub: its anchors, its punctuation, nothing that it does not know.
myst_heading_anchors = 6
myst_enable_extensions = ["dollarmath"]
myst_disable_syntax = ["myst_role", "myst_target", "myst_line_comment", "myst_block_break"]
smartquotes = False
# A notebook is shown with the outputs that are committed.
nb_execution_mode = "off"

html_theme = "sphinx_book_theme"
html_title = "jaxbn"
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],  # otherwise there are two search fields
    "use_download_button": False,
    "footer_content_items": [],
}
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
# Formulas are written as what browsers read themselves: no script from another host.
html_math_renderer = "mathml"


def inline(translator: Any, node: Node) -> None:
    translator.body.append(convert(node.astext()))
    raise SkipNode


def block(translator: Any, node: Node) -> None:
    translator.body.append(convert(node.astext(), display="block"))
    raise SkipNode


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
