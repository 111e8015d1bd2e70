"""What each bit or category does: decode the same code with one symbol changed, and look at the difference."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.manifest import InputSpec
from training.evaluation.numbers import ACTIVE_ABOVE
from training.model import DiscreteVAE
from training.report.html import Markup, element, section
from training.report.pictures import Pictures, captioned

_NUM_INPUTS = {"binary": 3, "categorical": 2}
_MOST_LATENTS = {"binary": 24, "categorical": 8}
_MOST_VALUES = 16


class Traversal(NamedTuple):
    """What one row's most probable code decodes to, and what it decodes to with one symbol set to each value.

    `outputs[l, k]` belongs to `latents[l]` set to `values[k]`; where that is the row's own symbol it is `base`.
    """

    base: Float[np.ndarray, " D"]
    own: Int64[np.ndarray, " L"]
    outputs: Float[np.ndarray, "L K D"]


def active_latents(latent_kl: Float[np.ndarray, " N"], most: int) -> Int64[np.ndarray, " L"]:
    """Numbers of the active latents by falling KL, at most so many."""
    order = np.argsort(-latent_kl, kind="stable")
    return order[latent_kl[order] > ACTIVE_ABOVE][:most]


@torch.no_grad()
def traverse(
    model: DiscreteVAE, row: Float[Tensor, " D"], latents: Int64[np.ndarray, " L"], num_values: int
) -> Traversal:
    """Set each of `latents`, one at a time, to each of the first `num_values` values."""
    codes = _indices(model, row.unsqueeze(0))
    changed = codes.repeat(len(latents) * num_values, 1)
    places = torch.from_numpy(latents).to(codes.device).repeat_interleave(num_values)
    changed[torch.arange(len(changed), device=codes.device), places] = torch.arange(
        num_values, device=codes.device
    ).repeat(len(latents))
    outputs = _decode(model, torch.cat([codes, changed])).cpu().numpy()
    return Traversal(outputs[0], codes[0].cpu().numpy()[latents], outputs[1:].reshape(len(latents), num_values, -1))


@torch.no_grad()
def mean_effects(
    model: DiscreteVAE, inputs: Float[Tensor, "B D"], latents: Int64[np.ndarray, " L"]
) -> Float[np.ndarray, "L D"]:
    """Of each of these bits, how decoding changes from 0 to 1, the others as they are: the mean over rows."""
    codes = _indices(model, inputs)
    effects = []
    for latent in latents:
        clear, set_ = codes.clone(), codes.clone()
        clear[:, latent], set_[:, latent] = 0, 1
        effects.append((_decode(model, set_) - _decode(model, clear)).mean(dim=0).cpu().numpy())
    return np.stack(effects)


def traversals(
    model: DiscreteVAE, inputs: Float[Tensor, "B D"], spec: InputSpec, latent_kl: Float[np.ndarray, " N"]
) -> Markup:
    """The section: latents by falling KL, for a few of the rows."""
    kind = model.latent.kind
    latents = active_latents(latent_kl, _MOST_LATENTS[kind])
    if not len(latents):
        return section(
            "Traversals", element("p", f"No latent has a KL above {ACTIVE_ABOVE:g} nats: no code says anything.")
        )
    draw = _bits if kind == "binary" else _categories
    num_active = int((latent_kl > ACTIVE_ABOVE).sum())
    explained = (
        f"{num_active} of {len(latent_kl)} latents are active (a KL above {ACTIVE_ABOVE:g} nats); shown are "
        f"{len(latents)}, by falling KL. Above, the most probable code with one symbol changed, decoded; below, what "
        "that adds (orange) and takes away (blue)."
    )
    return section(
        "Traversals", element("p", explained, class_="quiet"), draw(model, inputs, Pictures(spec), latents, latent_kl)
    )


def _bits(
    model: DiscreteVAE, inputs: Tensor, pictures: Pictures, latents: np.ndarray, latent_kl: np.ndarray
) -> list[Markup]:
    effects = mean_effects(model, inputs, latents)
    scale = float(np.abs(effects).max())
    cells = [
        captioned(
            f"bit {latent}, KL {latent_kl[latent]:.2f}", pictures.difference(effect, f"bit {latent}", scale=scale)
        )
        for latent, effect in zip(latents, effects, strict=True)
    ]
    parts = [
        element("h3", f"Mean effect of setting a bit, over {len(inputs)} inputs (full colour at {scale:.2f})"),
        element("div", cells, class_="cells wide"),
    ]
    for number, row in enumerate(inputs[: _NUM_INPUTS["binary"]]):
        traversal = traverse(model, row, latents, 2)
        cells = [_original(pictures, row, traversal)]
        for place, latent in enumerate(latents):
            own = int(traversal.own[place])
            output = traversal.outputs[place, 1 - own]
            name = f"bit {latent}: {own} → {1 - own}"
            shown = (pictures.value(output, name), pictures.difference(output - traversal.base, name, scale=1.0))
            cells.append(captioned(name, *shown))
        parts += [element("h3", f"Input {number + 1}, each bit flipped"), element("div", cells, class_="cells wide")]
    return parts


def _categories(
    model: DiscreteVAE, inputs: Tensor, pictures: Pictures, latents: np.ndarray, latent_kl: np.ndarray
) -> list[Markup]:
    num_values = min(model.latent.num_categories, _MOST_VALUES)
    parts = []
    for number, row in enumerate(inputs[: _NUM_INPUTS["categorical"]]):
        traversal = traverse(model, row, latents, num_values)
        parts += [
            element("h3", f"Input {number + 1}, each variable set to each value; its own is outlined"),
            element("div", _original(pictures, row, traversal), class_="cells wide"),
        ]
        for place, latent in enumerate(latents):
            cells = []
            for value, output in enumerate(traversal.outputs[place]):
                name = f"variable {latent} = {value}"
                shown = (pictures.value(output, name), pictures.difference(output - traversal.base, name, scale=1.0))
                cells.append(captioned(str(value), *shown, class_="chosen" if value == traversal.own[place] else None))
            parts.append(
                element(
                    "figure",
                    element("figcaption", f"variable {latent}, KL {latent_kl[latent]:.2f}"),
                    element("div", cells, class_="cells", style=f"--columns:{num_values}"),
                )
            )
    return parts


def _original(pictures: Pictures, row: Tensor, traversal: Traversal) -> Markup:
    return captioned(
        "input, decoded", pictures.value(row.cpu().numpy(), "input"), pictures.value(traversal.base, "decoded")
    )


def _indices(model: DiscreteVAE, inputs: Float[Tensor, "B D"]) -> Tensor:
    latent = model.latent
    return latent.indices(latent.most_probable(model.posterior(inputs).logits))


def _decode(model: DiscreteVAE, indices: Tensor) -> Float[Tensor, "C D"]:
    return model.reconstruction(model.latent.from_indices(indices).to(model.encoder.mean))
