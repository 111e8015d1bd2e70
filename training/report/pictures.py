"""Rows of data as something to look at: an image where a row is one, else a small plot of its values."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from models.manifest import InputSpec
from training.report.html import Content, Markup, element

_MOST_PIXELS = 96
"""A side of an image on the page; larger ones are scaled down."""
_MOST_VALUES = 256
"""Values of a vector that are drawn; of longer ones every k-th."""
_MORE, _LESS = (226, 82, 52), (52, 124, 206)
_PLOT_WIDTH, _PLOT_HEIGHT = 120, 60


class Pictures:
    """Draws rows of the inputs that a specification describes, and differences of two such rows."""

    def __init__(self, spec: InputSpec) -> None:
        shape = spec.shape
        self.is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        self._spec = spec

    def value(self, row: Float[np.ndarray, " D"], name: str) -> Markup:
        """A row; values beyond the specified range are drawn at its ends."""
        spec = self._spec
        share = np.clip((np.asarray(row, np.float64) - spec.minimum) / (spec.maximum - spec.minimum), 0, 1)
        if not self.is_image:
            return self._plot(share, name)
        if spec.image is not None and spec.image.invert:
            share = 1 - share
        pixels = np.rint(share.reshape(spec.shape) * 255).astype(np.uint8)
        return _image(Image.fromarray(pixels), name)

    def difference(self, row: Float[np.ndarray, " D"], name: str, *, scale: float) -> Markup:
        """A signed row: what is more in one colour, what is less in another, opaque from `scale` on.

        Channels of an image are averaged.
        """
        share = np.clip(np.asarray(row, np.float64) / scale, -1, 1) if scale > 0 else np.zeros(len(row))
        if not self.is_image:
            return self._signed_plot(share, name)
        signed = share.reshape(self._spec.shape)
        if signed.ndim == 3:
            signed = signed.mean(axis=2)
        colours = np.where((signed > 0)[..., None], _MORE, _LESS)
        pixels = np.concatenate([colours, np.rint(np.abs(signed) * 255)[..., None]], axis=-1).astype(np.uint8)
        return _image(Image.fromarray(pixels), name, class_="signed")

    def _plot(self, share: Float[np.ndarray, " D"], name: str) -> Markup:
        xs, ys = _positions(len(share)), _thinned(share)
        points = " ".join(f"{x:.1f},{_PLOT_HEIGHT * (1 - y):.1f}" for x, y in zip(xs, ys, strict=True))
        line = element("polyline", points=points, class_="line", style="stroke:var(--s0);stroke-width:1.5")
        return _small(element("title", name), line)

    def _signed_plot(self, share: Float[np.ndarray, " D"], name: str) -> Markup:
        middle = _PLOT_HEIGHT / 2
        bars = [
            element(
                "line",
                x1=x,
                x2=x,
                y1=middle,
                y2=middle * (1 - y),
                style=f"stroke:var(--{'more' if y > 0 else 'less'});stroke-width:1.5",
            )
            for x, y in zip(_positions(len(share)), _thinned(share), strict=True)
        ]
        axis = element("line", x1=0, x2=_PLOT_WIDTH, y1=middle, y2=middle, class_="grid")
        return _small(element("title", name), axis, bars)


def heat_map(shares: Float[np.ndarray, "rows columns"], name: str) -> Markup:
    """Values from 0 to 1, a pixel each: opaque at 1, clear at 0."""
    opacity = np.rint(np.clip(shares, 0, 1) * 255)[..., None]
    pixels = np.concatenate([np.broadcast_to(_LESS, (*shares.shape, 3)), opacity], axis=-1).astype(np.uint8)
    return _image(Image.fromarray(pixels), name, class_="signed", scaled=False)


def strip(cells: Sequence[Content], caption: str) -> Markup:
    """Pictures in one line, as wide as the page."""
    return element(
        "figure",
        element("figcaption", caption),
        element("div", cells, class_="cells", style=f"--columns:{len(cells)}"),
    )


def captioned(caption: str, *content: Content, class_: str | None = None) -> Markup:
    """One cell: pictures, and what they are."""
    return element("figure", *content, element("figcaption", caption), class_=class_)


def _image(image: Image.Image, name: str, *, class_: str | None = None, scaled: bool = True) -> Markup:
    if scaled and max(image.size) > _MOST_PIXELS:
        image.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
    return element("img", src=source, alt=name, title=name, class_=class_)


def _small(*content: Content) -> Markup:
    return element("svg", *content, viewBox=f"0 0 {_PLOT_WIDTH} {_PLOT_HEIGHT}", class_="vector", role="img")


def _thinned(values: Float[np.ndarray, " D"]) -> Float[np.ndarray, " drawn"]:
    return values[:: -(-len(values) // _MOST_VALUES)]


def _positions(num_values: int) -> Float[np.ndarray, " drawn"]:
    places = _thinned(np.arange(num_values, dtype=np.float64))
    return (places + 0.5) / num_values * _PLOT_WIDTH
