"""Elements of the page, well-formed as XML too, so that a test can read them with any parser.

Text is escaped where it becomes part of an element, markup is passed through: a `Markup` is the one, a str the other.
"""

from collections.abc import Iterable
from html import escape


class Markup(str):
    """A string that is markup already."""

    __slots__ = ()


Content = str | Markup | Iterable["Content"]


def element(name: str, /, *content: Content, **attributes: str | int | float | None) -> Markup:
    """An element; `class_` stands for class, other underscores for hyphens, and None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = joined(*content)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner or name not in _VOID else f"<{name}{written}/>")


def joined(*content: Content) -> Markup:
    """Contents one after another."""
    parts = []
    for each in content:
        if isinstance(each, Markup):
            parts.append(str(each))
        elif isinstance(each, str):
            parts.append(escape(each, quote=False))
        else:
            parts.append(str(joined(*each)))
    return Markup("".join(parts))


def section(title: str, *content: Content) -> Markup:
    """A part of the page under a heading, which the contents of the page can link to."""
    return element("section", element("h2", title), *content, id=anchor(title))


def anchor(title: str) -> str:
    """What a link to the section of that title points to."""
    return title.lower().replace(" ", "-")


def table(heading: Iterable[Content], rows: Iterable[Iterable[Content]], *, class_: str | None = None) -> Markup:
    """A table within a box that scrolls sideways, so that the page never does."""
    head = element("tr", [element("th", cell) for cell in heading])
    body = [element("tr", [element("td", cell) for cell in row]) for row in rows]
    return element(
        "div", element("table", element("thead", head), element("tbody", body)), class_=_spaced("scroll", class_)
    )


def folded(summary: str, *content: Content) -> Markup:
    """Content that is shown on demand."""
    return element("details", element("summary", summary), *content)


_VOID = {"img", "meta", "line", "rect", "circle", "polyline", "path", "br"}


def _number(value: str | int | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _spaced(*names: str | None) -> str:
    return " ".join(name for name in names if name)
