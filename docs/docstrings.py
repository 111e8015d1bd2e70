"""A Sphinx extension for docstrings and annotations as they are written here.

Docstrings use words of Markdown and autodoc reads reStructuredText, so they are translated: `code` between backticks;
formulas and commands that are set off by an indentation of four, tables, and trees, as they stand. Emphasis stays, and
other stars, bars and trailing underscores outside of code mean themselves. Type aliases of numpy are shown by their
names.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

_INDENT = "    "
_CODE = re.compile(r"`([^`]+)`")
_EMPHASIS = re.compile(r"((?<![\w*])\*\w(?:[\w -]*\w)?\*(?![\w*]))")
_MARKUP = re.compile(r"([*|]|(?<=\w)_(?!\w))")
_ITEM = re.compile(r"[-*] ")
_DRAWN = re.compile(r"[|├└│]")
_ALIASES = {stringify_annotation(ArrayLike, "smart"): "ArrayLike"}
_ARRAY = re.compile(
    r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[~(?:\w+\.)+(\w+(?:\[~typing\.Any\])?)\]\]"
)


def to_restructured_text(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring, without the indentation that all of them share, as reStructuredText."""
    return list(_translated(lines))


def with_aliases(signature: str) -> str:
    """A signature, or a result's annotation, with `ArrayLike` and `NDArray[...]` for what they stand for."""
    for written_out, alias in _ALIASES.items():
        signature = signature.replace(written_out, alias)
    return _ARRAY.sub(r"NDArray[\1]", signature)


def _translated(lines: Sequence[str]) -> Iterator[str]:
    was_literal = in_item = False
    for is_blank, group in groupby(lines, key=lambda line: not line.strip()):
        paragraph = list(group)
        if is_blank:
            yield from paragraph
            continue
        if not paragraph[0].startswith(" "):
            in_item = bool(_ITEM.match(paragraph[0]))
        is_drawn = any(_DRAWN.match(line) for line in paragraph)
        is_literal = is_drawn or (paragraph[0].startswith(_INDENT) and not in_item)
        if is_literal:
            # The literal block of reStructuredText that has no sentence before it.
            yield from () if was_literal else ("::", "")
            yield from (_INDENT + line for line in paragraph) if is_drawn else paragraph
        else:
            yield from _prose(paragraph)
        was_literal = is_literal


def _prose(paragraph: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(paragraph):
        item = _ITEM.match(line)
        if item and number and not _ITEM.match(paragraph[number - 1]):
            yield ""
        yield (item[0] if item else "") + _inline(line[item.end() if item else 0 :])


def _inline(text: str) -> str:
    pieces, end = [], 0
    for code in _CODE.finditer(text):
        pieces += [_escaped(text[end : code.start()]), f"``{code[1]}``"]
        end = code.end()
    return "".join([*pieces, _escaped(text[end:])])


def _escaped(text: str) -> str:
    # Every other piece of the split is emphasis.
    pieces = _EMPHASIS.split(text)
    return "".join(piece if number % 2 else _MARKUP.sub(r"\\\1", piece) for number, piece in enumerate(pieces))


def _process_docstring(
    app: Sphinx,  # noqa: ARG001 - what Sphinx passes, and so on
    what: str,  # noqa: ARG001
    name: str,  # noqa: ARG001
    obj: object,  # noqa: ARG001
    options: object,  # noqa: ARG001
    lines: list[str],
) -> None:
    lines[:] = to_restructured_text(lines)


def _process_signature(
    app: Sphinx,  # noqa: ARG001
    what: str,  # noqa: ARG001
    name: str,  # noqa: ARG001
    obj: object,  # noqa: ARG001
    options: object,  # noqa: ARG001
    signature: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    return signature and with_aliases(signature), result and with_aliases(result)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process_docstring)
    app.connect("autodoc-process-signature", _process_signature)
    return {"parallel_read_safe": True}
