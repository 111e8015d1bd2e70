"""The site of the documents: it builds without a warning, and needs nothing from elsewhere."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="Sphinx belongs to the docs group")
pytest.importorskip("torch", reason="the reference of training is made from its docstrings")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXTERNAL = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["'](?:https?:)?//"""  # what a page would load by itself; links are fine
    r"""|<link[^>]+href=["'](?:https?:)?//"""
    r"""|url\(\s*["']?(?:https?:)?//|@import"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    # As `make docs` does it.
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--doctree-dir", folder / "doctrees"]
    process = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, DOCS, folder / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    return folder / "html"


@pytest.fixture
def translate(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The translation of docstrings that the site is built with."""
    monkeypatch.syspath_prepend(DOCS)
    from docstrings import to_restructured_text

    return lambda text: "\n".join(to_restructured_text(text.split("\n")))


def test_the_site_builds_without_a_warning_and_has_every_page(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert len(pages) > 5
    assert {path for path in pages if not (site / path).is_file()} == set()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    texts = [path for suffix in ("html", "css") for path in site.rglob(f"*.{suffix}")]
    assert len(texts) > 10
    loading = {str(path): found[0] for path in texts if (found := EXTERNAL.search(path.read_text(encoding="utf-8")))}
    assert loading == {}


def test_the_search_for_what_is_loaded_finds_what_browsers_would_load() -> None:
    assert EXTERNAL.search('<script src="https://cdn.example/x.js"></script>')
    assert EXTERNAL.search('<link rel="stylesheet" href="//fonts.example/css">')
    assert EXTERNAL.search("src: url(https://fonts.example/a.woff2)")
    assert not EXTERNAL.search('<a href="https://www.rfc-editor.org/rfc/rfc9457">RFC 9457</a>')


def test_the_reference_shows_the_docstring_of_a_method(site: Path) -> None:
    page = (site / "reference" / "engine.html").read_text(encoding="utf-8")
    assert "Inputs [B, D] or [B, *input], within the manifest’s range" in page


def test_code_in_a_docstring_becomes_a_literal(translate: Callable[[str], str]) -> None:
    assert translate("Takes `phi` and `tau_`.") == "Takes ``phi`` and ``tau_``."


def test_stars_of_shapes_are_no_emphasis_and_emphasis_is(translate: Callable[[str], str]) -> None:
    assert translate("[B, *latent] or [S, B, *latent], of the *law* alone") == (
        r"[B, \*latent] or [S, B, \*latent], of the *law* alone"
    )


def test_a_formula_that_is_set_off_stays_as_it_stands(translate: Callable[[str], str]) -> None:
    assert translate("The score:\n\n    phi + T * eps\n\n    [scores > 0]\n\nAnd so on.") == (
        "The score:\n\n::\n\n    phi + T * eps\n\n    [scores > 0]\n\nAnd so on."
    )


def test_a_tree_keeps_its_lines(translate: Callable[[str], str]) -> None:
    assert translate("Error\n├── One\n└── Two") == "::\n\n    Error\n    ├── One\n    └── Two"


def test_items_that_follow_a_sentence_become_a_list(translate: Callable[[str], str]) -> None:
    assert translate("Either\n- `a`, or\n- `b`.") == "Either\n\n- ``a``, or\n- ``b``."
