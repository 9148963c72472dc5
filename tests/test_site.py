"""The pages as a site: built without a warning, every link leads somewhere, nothing comes from another host."""

import importlib.util
import json
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest

from tests.sources import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("myst_nb", "sphinx_external_toc", "latex2mathml")),
        reason="needs jaxbn[docs]",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build") / "site"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs/site", ".", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    parse = importlib.import_module("bs4").BeautifulSoup
    files = (path for path in site.rglob("*.html") if "_static" not in path.parts)
    return {path: parse(path.read_bytes(), "html.parser") for path in files}


def addresses(page):
    return [tag[name] for name in ("href", "src") for tag in page.find_all(attrs={name: True})]


def test_every_link_leads_somewhere(site, pages):
    ids = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    lost = []
    for path, page in pages.items():
        for address in addresses(page):
            parts = urlsplit(address)
            if parts.scheme in ("http", "https"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = ids.get(target, set()) | {""}
            if not (target.is_file() and target.is_relative_to(site) and unquote(parts.fragment) in anchors):
                lost.append(f"{path.relative_to(site)}: {address}")
    assert not lost


def test_nothing_comes_from_another_host(site, pages):
    """Scripts, styles, fonts and pictures; a reader may follow a link to elsewhere."""
    loaded = [tag.get("src") or tag.get("href") for page in pages.values() for tag in page.select("[src], link[href]")]
    for path in site.rglob("*.css"):
        loaded += re.findall(r"(?:url\(|@import)\s*[\"']?([^\"');]+)", path.read_text(encoding="utf-8"))
    assert not [address for address in loaded if re.match(r"(\w+:)?//", address)]


def test_the_first_page_is_the_readme(site):
    assert "url=README.html" in (site / "index.html").read_text()


def test_the_search_knows_every_page(site, pages):
    """It is a script beside the pages, which a browser loads from a disk too."""
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    written = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert written | {"README", "CONTRIBUTING"} <= set(index["docnames"])
    found = {index["docnames"][i] for i in index["terms"]["momentum"]}
    assert {"README", "docs/migrate"} <= found
