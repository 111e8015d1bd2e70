"""What the codes look like: how a model's codes are used over a sliding window, as all workers together see it.

A model whose inputs have changed, or that was exported badly, goes on answering; its codes tell. Of every code that
`encode` and `reconstruct` make, each latent's symbol is counted, in a window of rings in shared memory: a few ring
segments, of which the oldest is cleared and used again. From the counts, for each latent:

    entropy      -sum_k p_k log2 p_k, with p the shares of its K symbols, in bits; 0: nothing, log2 K: full
    dead         it has taken the same symbol for every row of the window
    unseen       symbols that did not come at all
    drift        total variation distance, 1/2 sum_k |p_k - q_k|, from the shares q since the service was started; where
                 the window is all there was, 0

A near tie is a symbol whose best and second-best score differ by less than NEAR_TIE: there another machine may decide
otherwise. Their share is measured on a few of the rows that came, beside the requests, twice a second.

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

from models.manifest import Manifest
from service.engine import Engine
from service.golden import TOLERANCE
from service.observation.arena import Arena, Region
from service.observation.families import Family, Sample

NEAR_TIE = TOLERANCE

_SEGMENTS = 10
_HEAD = 4
"""Of a segment: its number since the epoch, rows, symbols whose margin was looked at, and near ties among them."""
_MAX_PENDING_ROWS = 1024
_MAX_COUNTERS = 1 << 16
"""Symbols of all latents together; of models with more, codes are not counted."""
_MARGIN_ROWS = 16

ENTROPY = Family(
    "code_entropy_bits", "gauge", "Entropy of each latent over the window.", ("model", "version", "latent")
)
DEAD = Family("code_dead_latents", "gauge", "Latents that took one symbol for all rows.", ("model", "version"))
UNSEEN = Family("code_unseen_symbols", "gauge", "Symbols that did not come, of all latents.", ("model", "version"))
NEAR_TIES = Family("code_near_tie_ratio", "gauge", "Share of symbols decided by less than 1e-4.", ("model", "version"))
DRIFT = Family("code_drift", "gauge", "Mean distance of the window from all before, 0 to 1.", ("model", "version"))
ROWS = Family("code_window_rows", "gauge", "Codes in the window.", ("model", "version"))


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


class Counts:
    """Counts the codes of one worker, and reads those of all."""

    def __init__(self, arena: Arena, region: Region, *, window_seconds: float) -> None:
        self._arena = arena
        self._region = region
        self._segment_seconds = window_seconds / _SEGMENTS
        self._pending: dict[int, tuple[Engine, list[NDArray[Any]]]] = {}
        self._num_pending = 0
        self._last_inputs: dict[int, tuple[Engine, NDArray[Any]]] = {}

    def note(self, engine: Engine, inputs: NDArray[Any], codes: NDArray[Any]) -> None:
        """Codes [B, N] or [B, S, N] that were made of inputs; they must not be changed afterwards."""
        key = id(engine)
        if key not in self._pending:
            self._pending[key] = engine, []
        self._pending[key][1].append(codes)
        self._last_inputs[key] = engine, inputs
        self._num_pending += len(codes)
        if self._num_pending >= _MAX_PENDING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Count what was noted."""
        pending, self._pending, self._num_pending = self._pending, {}, 0
        for engine, arrays in pending.values():
            manifest = engine.manifest
            if (found := self._open(manifest)) is None:
                continue
            codes = np.concatenate([array.reshape(-1, manifest.num_latents) for array in arrays])
            offsets = np.arange(manifest.num_latents) * manifest.num_categories
            counts = np.bincount((codes.astype(np.int64) + offsets).ravel(), minlength=found.shape[1] - _HEAD)
            segment = self._segment(found)
            for row in (segment, found[-1]):
                row[1] += len(codes)
                row[_HEAD:] += counts

    def look_at_margins(self) -> None:
        """Measure near ties on a few of the rows that came last; to be called about twice a second."""
        last, self._last_inputs = self._last_inputs, {}
        for engine, inputs in last.values():
            if (found := self._open(engine.manifest)) is not None:
                margins = engine.encode(inputs[:_MARGIN_ROWS], outputs=("margins",)).margins
                assert margins is not None
                segment = self._segment(found)
                segment[2] += margins.size
                segment[3] += np.count_nonzero(margins < NEAR_TIE)

    def usage(self, manifest: Manifest) -> Usage | None:
        """What all workers counted; None where the codes of this model are not counted."""
        if _num_counters(manifest) > _MAX_COUNTERS:
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
        if _num_counters(manifest) > _MAX_COUNTERS:
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
    found: dict[Family, list[Sample]] = {family: [] for family in (ENTROPY, DEAD, UNSEEN, NEAR_TIES, DRIFT, ROWS)}
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
        if usage.near_tie_ratio is not None:
            found[NEAR_TIES].append(Sample(labels, [usage.near_tie_ratio]))
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
    )


def _table(block: "memoryview[float]", width: int) -> NDArray[np.float64]:
    return np.frombuffer(block, np.float64).reshape(_SEGMENTS + 1, width)  # type: ignore[arg-type]  # any buffer will do


def _num_counters(manifest: Manifest) -> int:
    return manifest.num_latents * manifest.num_categories


def _key(manifest: Manifest) -> str:
    return json.dumps(["codes of", manifest.name, manifest.version])
