"""What the codes look like: how a model's codes are used over a sliding window, as all workers together see it.

A model whose inputs have changed, or that was exported badly, goes on answering; its codes tell. Of every code that
`encode` and `reconstruct` make, each latent's symbol is counted, in a window of rings in shared memory: a few ring
segments, of which the oldest is cleared and used again. From the counts, for each latent:

    entropy      -sum_k p_k log2 p_k, with p the shares of its K symbols, in bits; 0: nothing, log2 K: full
    dead         it has taken the same symbol for every row of the window
    unseen       symbols that did not come at all
    drift        total variation distance, 1/2 sum_k |p_k - q_k|, from the shares q since the service was started; where
                 the window is all there was, 0
    training     the same distance from the shares q of the manifest, which were counted in training at temperature 0
    drift

A near tie is a symbol whose best and second-best score differ by less than NEAR_TIE: there another machine may decide
otherwise. Their share is measured on a few of the rows that came, beside the requests, twice a second.

Of B independent rows whose law has not changed, the distance to that law is 1/2 sqrt((K - 1) / B) on average or less
(Jensen's and Cauchy's inequalities), and passes its average by t with a probability of exp(-2 B t^2) at most (McDiarmid
1989: one row moves it by 1/B). So `by_chance` bounds what the largest of N training drifts comes to without a cause: it
is passed once in 1 / CHANCE windows at most. Rows drawn at a temperature above 0 have another law than the manifest's;
since the distance is convex, a share s of them adds s at most, and the share is told beside it.

Counting takes one bincount for many requests; a request only leaves its array here.
"""

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import MAX_USAGE_SYMBOLS, Manifest
from service.engine import Engine
from service.golden import TOLERANCE
from service.observation.arena import Arena, Region
from service.observation.families import Family, Sample

NEAR_TIE = TOLERANCE

CHANCE = 0.01

_SEGMENTS = 10
_HEAD = 5
"""Of a segment: its number since the epoch, rows, symbols whose margin was looked at, near ties among them, and rows
that were drawn at a temperature above 0.
"""
_MAX_PENDING_ROWS = 1024
_MARGIN_ROWS = 16

ENTROPY = Family(
    "code_entropy_bits", "gauge", "Entropy of each latent over the window.", ("model", "version", "latent")
)
DEAD = Family("code_dead_latents", "gauge", "Latents that took one symbol for all rows.", ("model", "version"))
UNSEEN = Family("code_unseen_symbols", "gauge", "Symbols that did not come, of all latents.", ("model", "version"))
NEAR_TIES = Family("code_near_tie_ratio", "gauge", "Share of symbols decided by less than 1e-4.", ("model", "version"))
DRIFT = Family("code_drift", "gauge", "Mean distance of the window from all before, 0 to 1.", ("model", "version"))
TRAINING_DRIFT_MEAN = Family(
    "code_training_drift_mean", "gauge", "Mean distance of the window from training, 0 to 1.", ("model", "version")
)
TRAINING_DRIFT_MAX = Family(
    "code_training_drift_max", "gauge", "Distance of the latent farthest from training.", ("model", "version")
)
BY_CHANCE = Family(
    "code_training_drift_by_chance",
    "gauge",
    "What code_training_drift_max comes to by chance, once in a hundred windows at most.",
    ("model", "version"),
)
SAMPLED = Family("code_sampled_ratio", "gauge", "Share of codes drawn at a temperature above 0.", ("model", "version"))
ROWS = Family("code_window_rows", "gauge", "Codes in the window.", ("model", "version"))


_FAMILIES = (
    *(ENTROPY, DEAD, UNSEEN, NEAR_TIES, SAMPLED, ROWS),
    *(DRIFT, TRAINING_DRIFT_MEAN, TRAINING_DRIFT_MAX, BY_CHANCE),
)


@dataclass(frozen=True)
class Usage:
    """How the codes of one version were used."""

    num_rows: int
    entropy_bits: NDArray[np.float64]
    """[N]"""
    unseen: NDArray[np.int64]
    """[N]: symbols that did not come."""
    dead: NDArray[np.bool_]
    """[N]"""
    drift: NDArray[np.float64]
    """[N]"""
    near_tie_ratio: float | None
    """None while no margin was looked at."""
    sampled_ratio: float
    """Share of rows drawn at a temperature above 0."""
    training_drift: NDArray[np.float64] | None
    """[N]; None where the manifest does not say how codes were used in training."""
    by_chance: float | None
    """What the largest of these comes to without a cause, with a probability of CHANCE at most."""


class Counts:
    """Counts the codes of one worker, and reads those of all."""

    def __init__(self, arena: Arena, region: Region, *, window_seconds: float) -> None:
        self._arena = arena
        self._region = region
        self._segment_seconds = window_seconds / _SEGMENTS
        self._pending: dict[int, tuple[Engine, list[NDArray[Any]]]] = {}
        self._pending_sampled: dict[int, int] = {}
        self._num_pending = 0
        self._to_look_at: dict[int, tuple[Engine, NDArray[Any]]] = {}

    def note(self, engine: Engine, inputs: NDArray[Any], codes: NDArray[Any], *, is_sampled: bool = False) -> None:
        """Codes [B, N] or [B, S, N] that were made of inputs; they must not be changed afterwards."""
        key = id(engine)
        if is_sampled:
            num_codes = codes.size // codes.shape[-1]
            self._pending_sampled[key] = self._pending_sampled.get(key, 0) + num_codes
        if key not in self._pending:
            self._pending[key] = engine, []
        self._pending[key][1].append(codes)
        if key not in self._to_look_at:
            # A view of a few rows would keep all of them, and their memory from the next body.
            self._to_look_at[key] = engine, inputs[:_MARGIN_ROWS].copy()
        self._num_pending += len(codes)
        if self._num_pending >= _MAX_PENDING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Count what was noted."""
        pending, self._pending, self._num_pending = self._pending, {}, 0
        sampled, self._pending_sampled = self._pending_sampled, {}
        for key, (engine, arrays) in pending.items():
            manifest = engine.manifest
            if (found := self._open(manifest)) is None:
                continue
            codes = np.concatenate([array.reshape(-1, manifest.num_latents) for array in arrays])
            offsets = np.arange(manifest.num_latents) * manifest.num_categories
            counts = np.bincount((codes.astype(np.int64) + offsets).ravel(), minlength=found.shape[1] - _HEAD)
            segment = self._segment(found)
            for row in (segment, found[-1]):
                row[1] += len(codes)
                row[4] += sampled.get(key, 0)
                row[_HEAD:] += counts

    def look_at_margins(self) -> None:
        """Measure near ties on a few of the rows that came since the last call; to be called about twice a second."""
        kept, self._to_look_at = self._to_look_at, {}
        for engine, inputs in kept.values():
            if (found := self._open(engine.manifest)) is not None:
                margins = engine.encode(inputs, outputs=("margins",)).margins
                assert margins is not None
                segment = self._segment(found)
                segment[2] += margins.size
                segment[3] += np.count_nonzero(margins < NEAR_TIE)

    def usage(self, manifest: Manifest) -> Usage | None:
        """What all workers counted; None where the codes of this model are not counted."""
        if _num_counters(manifest) > MAX_USAGE_SYMBOLS:
            return None
        width = _HEAD + _num_counters(manifest)
        total, before = np.zeros(width), np.zeros(width)
        oldest = self._now() - _SEGMENTS + 1
        wanted = _key(manifest)
        for place in range(self._arena.num_places):
            for key, block in self._arena.blocks(place):
                if key == wanted and len(block) == (_SEGMENTS + 1) * width:
                    table = _table(block, width)
                    total += table[:-1][table[:-1, 0] >= oldest].sum(axis=0)
                    before += table[-1]
        return _usage(manifest, total, before)

    def _open(self, manifest: Manifest) -> NDArray[np.float64] | None:
        """The table of this worker: a row for each segment, and a last one for all that ever came."""
        if _num_counters(manifest) > MAX_USAGE_SYMBOLS:
            return None
        width = _HEAD + _num_counters(manifest)
        block = self._region.block(_key(manifest), (_SEGMENTS + 1) * width)
        return _table(block, width)

    def _segment(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """The one of this moment, cleared when it was another's."""
        now = self._now()
        segment: NDArray[np.float64] = table[now % _SEGMENTS]
        if segment[0] != now:
            segment[:] = 0
            segment[0] = now
        return segment

    def _now(self) -> int:
        return int(time.monotonic() / self._segment_seconds)


def samples(usages: Iterable[tuple[Manifest, Usage]]) -> list[tuple[Family, list[Sample]]]:
    """As metrics; of versions that made no code in the window there is nothing to say."""
    found: dict[Family, list[Sample]] = {family: [] for family in _FAMILIES}
    for manifest, usage in usages:
        labels = (manifest.name, str(manifest.version))
        found[ROWS].append(Sample(labels, [usage.num_rows]))
        if not usage.num_rows:
            continue
        for latent, bits in enumerate(usage.entropy_bits.tolist()):
            found[ENTROPY].append(Sample((*labels, str(latent)), [bits]))
        found[DEAD].append(Sample(labels, [int(usage.dead.sum())]))
        found[UNSEEN].append(Sample(labels, [int(usage.unseen.sum())]))
        found[DRIFT].append(Sample(labels, [float(usage.drift.mean())]))
        found[SAMPLED].append(Sample(labels, [usage.sampled_ratio]))
        if usage.near_tie_ratio is not None:
            found[NEAR_TIES].append(Sample(labels, [usage.near_tie_ratio]))
        if usage.training_drift is not None and usage.by_chance is not None:
            found[TRAINING_DRIFT_MEAN].append(Sample(labels, [float(usage.training_drift.mean())]))
            found[TRAINING_DRIFT_MAX].append(Sample(labels, [float(usage.training_drift.max())]))
            found[BY_CHANCE].append(Sample(labels, [usage.by_chance]))
    return list(found.items())


def described(manifest: Manifest, usage: Usage, window_seconds: float) -> dict[str, Any]:
    """As a JSON document."""
    return {
        "model": manifest.name,
        "version": manifest.version,
        "window_seconds": window_seconds,
        "num_rows": usage.num_rows,
        "max_entropy_bits": math.log2(manifest.num_categories),
        "entropy_bits": usage.entropy_bits.round(6).tolist(),
        "dead_latents": np.flatnonzero(usage.dead).tolist(),
        "unseen_symbols": usage.unseen.tolist(),
        "drift": usage.drift.round(6).tolist(),
        "training_drift": None if usage.training_drift is None else usage.training_drift.round(6).tolist(),
        "training_drift_by_chance": usage.by_chance,
        "sampled_ratio": usage.sampled_ratio,
        "near_tie_ratio": usage.near_tie_ratio,
    }


def _usage(manifest: Manifest, total: Sequence[float] | NDArray[np.float64], ever: NDArray[np.float64]) -> Usage:
    total = np.asarray(total)
    shape = (manifest.num_latents, manifest.num_categories)
    counts = total[_HEAD:].reshape(shape)
    before = ever[_HEAD:].reshape(shape) - counts
    num_rows = int(total[1])
    shares = counts / max(1, num_rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(shares > 0, shares * np.log2(shares), 0.0).sum(axis=1)
    num_before = before.sum(axis=1, keepdims=True)
    earlier = before / np.maximum(1, num_before)
    drift = np.where(num_before[:, 0] > 0, np.abs(shares - earlier).sum(axis=1) / 2, 0.0)
    return Usage(
        num_rows=num_rows,
        entropy_bits=np.abs(entropy),
        unseen=(counts == 0).sum(axis=1),
        dead=(counts > 0).sum(axis=1) == 1,
        drift=drift if num_rows else np.zeros(len(drift)),
        near_tie_ratio=float(total[3] / total[2]) if total[2] else None,
        sampled_ratio=float(total[4] / max(1, num_rows)),
        training_drift=training_drift(manifest, shares) if num_rows else None,
        by_chance=by_chance(manifest, num_rows) if num_rows else None,
    )


def training_drift(manifest: Manifest, shares: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Total variation distance of shares [N, K] from those of the manifest, [N]; None where it has none."""
    if manifest.usage is None:
        return None
    drift: NDArray[np.float64] = np.abs(shares - manifest.usage.by_symbol(manifest.kind)).sum(axis=1) / 2
    return drift


def by_chance(manifest: Manifest, num_rows: int) -> float | None:
    """What the largest of the distances of so many rows passes without a cause with a probability of CHANCE at most.

    The window and the manifest's shares each have a bound of their own, and half of CHANCE.
    """
    if manifest.usage is None:
        return None
    surplus = math.log(2 * manifest.num_latents / CHANCE)
    bounds = (
        math.sqrt((manifest.num_categories - 1) / num) / 2 + math.sqrt(surplus / (2 * num))
        for num in (num_rows, manifest.usage.num_examples)
    )
    return min(1.0, sum(bounds))


def _table(block: "memoryview[float]", width: int) -> NDArray[np.float64]:
    return np.frombuffer(block, np.float64).reshape(_SEGMENTS + 1, width)  # type: ignore[arg-type]  # any buffer will do


def _num_counters(manifest: Manifest) -> int:
    return manifest.num_latents * manifest.num_categories


def _key(manifest: Manifest) -> str:
    return json.dumps(["codes of", manifest.name, manifest.version])
