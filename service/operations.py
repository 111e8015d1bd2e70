"""What the operations are made of: which graphs are run on what. Nothing here knows where a run happens, or when.

An operation is a request whose values were checked. `in_parts` cuts it into operations of bounded size with the same
answers; `arrays` asks its `run` for the graphs it needs, one after the other, and returns what was wanted. `run` may be
answered at once (`Engine`), or when rows of others have joined (`Dispatcher`).

Shapes: B rows, S samples, N latents, K categories, D input values; `*latent` is N (binary) or N, K (categorical),
`*input` the manifest's input shape. With one sample there is no sample axis; with more it follows the rows.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models import noise
from models.codes import Codes
from models.manifest import Manifest
from models.relaxations import RELAXATIONS, STANDARD_NOISE
from service import prior
from service.checks import Floats
from service.prior import RunGraph
from service.sampling import Sampling

Arrays = dict[str, NDArray[Any]]

_SECONDS_PER_VALUE = 3e-9
"""Of checking and copying; measured, and on the high side, as is the next."""
_SECONDS_PER_NOISE = 5e-8


class Operation(Protocol):
    """Something to do for B rows."""

    @property
    def num_rows(self) -> int:
        """B."""

    @property
    def num_samples(self) -> int:
        """S."""

    @property
    def seconds_beside_runs(self) -> float:
        """About how long everything takes that is not a run of a graph."""

    @property
    def is_one_run(self) -> bool:
        """Whether it is one run of its rows as they are, which whoever runs them may cut."""

    def part(self, at: slice) -> Self:
        """The same for some of the rows."""

    async def arrays(self, run: RunGraph, max_rows: int) -> Arrays:
        """What was wanted, by name, from runs of at most `max_rows` rows."""


SomeOperation = TypeVar("SomeOperation", bound=Operation)


def in_parts(operation: SomeOperation, max_rows: int) -> Iterator[SomeOperation]:
    """The operation in parts of at most `max_rows` rows times samples, or of one row with more samples than that."""
    step = max(1, max_rows // operation.num_samples)
    for start in range(0, operation.num_rows, step):
        yield operation.part(slice(start, min(start + step, operation.num_rows)))


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The arrays of an operation from those of its parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class Encode(NamedTuple):
    """Inputs to the wanted of `codes`, `relaxed`, `probabilities`, `logits`, `margins` and `near_ties`."""

    manifest: Manifest
    rows: Floats
    """[B, D]"""
    sampling: Sampling
    wanted: frozenset[str]
    near_tie_margin: float = 0.0
    """A row is a near tie where a symbol was decided by less."""

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    @property
    def num_samples(self) -> int:
        return self.sampling.num_samples

    @property
    def seconds_beside_runs(self) -> float:
        num_drawn = 0 if self.sampling.is_deterministic else self.num_rows * self.num_samples
        return self.rows.size * _SECONDS_PER_VALUE + num_drawn * _latent_size(self.manifest) * _SECONDS_PER_NOISE

    @property
    def is_one_run(self) -> bool:
        to_sample = self.wanted - {"logits"}
        return not to_sample or (self.sampling.is_deterministic and to_sample == {"codes"})

    def part(self, at: slice) -> Self:
        return self._replace(rows=self.rows[at], sampling=self.sampling.continued(at.start))

    async def arrays(self, run: RunGraph, max_rows: int) -> Arrays:
        if "near_ties" in self.wanted:
            return await self._with_near_ties(run, max_rows)
        if self.is_one_run:
            # The commonest request: one run of the encoder.
            names = tuple(self.wanted)
            found = dict(zip(names, await run("encoder", (self.rows,), names), strict=True))
            if "codes" in found and self.num_samples > 1:
                found["codes"] = np.repeat(found["codes"][:, None], self.num_samples, axis=1)
            return found
        names = ("logits",)
        if self.manifest.parameter_shape != self.manifest.latent_shape:
            names = ("logits", "parameters")
        encoded = await run("encoder", (self.rows,), names)
        drawing = _Drawing(self.manifest, self.sampling, self.wanted - {"logits"}, "posterior")
        found = await drawing.arrays(encoded[-1], run, max_rows)
        if "logits" in self.wanted:
            found["logits"] = encoded[0]
        return found

    async def _with_near_ties(self, run: RunGraph, max_rows: int) -> Arrays:
        found = await self._replace(wanted=self.wanted - {"near_ties"} | {"margins"}).arrays(run, max_rows)
        found["near_ties"] = np.any(found["margins"] < self.near_tie_margin, axis=-1)
        return {name: found[name] for name in self.wanted}


class Decode(NamedTuple):
    """Codes, or relaxed codes, to `outputs`."""

    manifest: Manifest
    codes: Codes | None = None
    """[B, N]"""
    relaxed: Floats | None = None
    """[B, *latent]"""

    @property
    def num_rows(self) -> int:
        given = self.codes if self.codes is not None else self.relaxed
        assert given is not None
        return len(given)

    @property
    def num_samples(self) -> int:
        return 1

    @property
    def seconds_beside_runs(self) -> float:
        return self.num_rows * (_latent_size(self.manifest) + self.manifest.input.size) * _SECONDS_PER_VALUE

    @property
    def is_one_run(self) -> bool:
        return False

    def part(self, at: slice) -> Self:
        return self._replace(
            codes=None if self.codes is None else self.codes[at],
            relaxed=None if self.relaxed is None else self.relaxed[at],
        )

    async def arrays(self, run: RunGraph, max_rows: int) -> Arrays:  # noqa: ARG002  # its rows are one run
        corners = self.relaxed
        if self.codes is not None:
            corners = prior.as_corners(self.manifest, self.codes)
        assert corners is not None
        (outputs,) = await run("decoder", (corners,), ("outputs",))
        return {"outputs": outputs.reshape(len(outputs), *self.manifest.input.shape)}


class Reconstruct(NamedTuple):
    """What `encode` wants, `outputs`, and `mean_squared_error`."""

    encode: Encode

    @property
    def num_rows(self) -> int:
        return self.encode.num_rows

    @property
    def num_samples(self) -> int:
        return self.encode.num_samples

    @property
    def seconds_beside_runs(self) -> float:
        num_compared = self.num_rows * self.num_samples * self.encode.manifest.input.size
        return self.encode.seconds_beside_runs + 4 * num_compared * _SECONDS_PER_VALUE

    @property
    def is_one_run(self) -> bool:
        return False

    def part(self, at: slice) -> Self:
        return self._replace(encode=self.encode.part(at))

    async def arrays(self, run: RunGraph, max_rows: int) -> Arrays:
        manifest, wanted = self.encode.manifest, self.encode.wanted
        found = await self.encode._replace(wanted=wanted | {"codes"}).arrays(run, max_rows)
        codes = found["codes"]
        lead = codes.shape[:-1]
        decode = Decode(manifest, codes=codes.reshape(-1, manifest.num_latents))
        decoded = joined([await part.arrays(run, max_rows) for part in in_parts(decode, max_rows)])["outputs"]
        original = self.encode.rows if len(lead) == 1 else self.encode.rows[:, None]
        squared = np.square(decoded.reshape(*lead, -1) - original, dtype=np.float64)
        return {name: array for name, array in found.items() if name in wanted} | {
            "outputs": decoded.reshape(*lead, *manifest.input.shape),
            "mean_squared_error": squared.mean(axis=-1),
        }


class Generate(NamedTuple):
    """Codes drawn from the prior: `outputs`, and the wanted of `codes` and `relaxed`."""

    manifest: Manifest
    num_codes: int
    sampling: Sampling
    wanted: frozenset[str]

    @property
    def num_rows(self) -> int:
        return self.num_codes

    @property
    def num_samples(self) -> int:
        return 1

    @property
    def seconds_beside_runs(self) -> float:
        per_row = _latent_size(self.manifest) * (_SECONDS_PER_NOISE + _SECONDS_PER_VALUE)
        return self.num_codes * (per_row + self.manifest.input.size * _SECONDS_PER_VALUE)

    @property
    def is_one_run(self) -> bool:
        return False

    def part(self, at: slice) -> Self:
        return self._replace(num_codes=at.stop - at.start, sampling=self.sampling.continued(at.start))

    async def arrays(self, run: RunGraph, max_rows: int) -> Arrays:
        drawn = await self._draw(run, max_rows)
        decoded = await Decode(self.manifest, codes=drawn["codes"]).arrays(run, max_rows)
        return {name: array for name, array in drawn.items() if name in self.wanted} | decoded

    async def _draw(self, run: RunGraph, max_rows: int) -> Arrays:
        """The wanted of codes [B, N] and relaxed [B, *latent], and codes in any case."""
        manifest, shape = self.manifest, (self.num_codes, *self.manifest.latent_shape)
        wanted = self.wanted | {"codes"}

        conditionals = prior.conditionals(manifest, run)
        if RELAXATIONS[manifest.relaxation.name].perturbs_logits and manifest.prior.name != "autoregressive":
            # The sampler's formula is the prior's: its graph draws, so that relaxed values are rounded as encode's are.
            logits = await conditionals(np.zeros(shape, np.float32))
            return await _Drawing(manifest, self.sampling, wanted, "prior").arrays(logits, run, max_rows)
        drawing = _Drawing(manifest, self.sampling, wanted, "prior")
        standard = drawing.noise(STANDARD_NOISE[manifest.kind], self.num_codes, 0)
        scores = await prior.scores(manifest, standard, self.sampling.temperature, conditionals)
        drawn: Arrays = {"codes": prior.most_probable(manifest, scores)}
        if "relaxed" in wanted:
            drawn["relaxed"] = prior.relaxed(manifest, scores, self.sampling.relaxation_temperature)
        return drawn


class _Drawing(NamedTuple):
    """Samples for parameters (or logits), with the sampler."""

    manifest: Manifest
    sampling: Sampling
    wanted: frozenset[str]
    purpose: noise.Purpose

    async def arrays(self, parameters: Floats, run: RunGraph, max_rows: int) -> Arrays:
        """The wanted outputs for parameters of B rows: each [B, ...], or [B, S, ...] but for the probabilities."""
        # At temperature 0 every sample is the same one.
        num_samples = 1 if self.sampling.is_deterministic else self.sampling.num_samples
        names = tuple(self.wanted)
        step = max(1, max_rows // len(parameters))
        found = []
        for first in range(0, num_samples, step):
            samples = range(first, min(first + step, num_samples))
            found.append(await self._run(parameters, samples, names, run))
        arrays = [
            np.concatenate(pieces, axis=1) if len(found) > 1 else pieces[0] for pieces in zip(*found, strict=True)
        ]
        named = dict(zip(names, arrays, strict=True))
        if num_samples < self.sampling.num_samples:
            named = {name: np.repeat(array, self.sampling.num_samples, axis=1) for name, array in named.items()}
        is_one = self.sampling.num_samples == 1
        return {name: array[:, 0] if is_one or name == "probabilities" else array for name, array in named.items()}

    async def _run(self, parameters: Floats, samples: range, names: Sequence[str], run: RunGraph) -> list[NDArray[Any]]:
        """Outputs [B, s, ...] for these samples."""
        lead = (len(parameters), len(samples))
        num_rows = lead[0] * lead[1]
        drawn = [self.noise(self.manifest.relaxation.noise, len(parameters), sample) for sample in samples]
        outputs = await run(
            "sampler",
            (
                parameters if len(samples) == 1 else np.repeat(parameters, len(samples), axis=0),
                drawn[0] if len(drawn) == 1 else np.stack(drawn, axis=1).reshape(num_rows, *self.manifest.latent_shape),
                np.full(num_rows, self.sampling.temperature, np.float32),
                np.full(num_rows, self.sampling.relaxation_temperature, np.float32),
            ),
            names,
        )
        return [output.reshape(*lead, *output.shape[1:]) for output in outputs]

    def noise(self, name: noise.NoiseName, num_rows: int, sample: int) -> Floats:
        """Standard noise [num_rows, *latent], from the sampling's first row on, or zeros where none is drawn."""
        shape = self.manifest.latent_shape
        if self.sampling.seed is None or self.sampling.is_deterministic:
            return np.zeros((num_rows, *shape), np.float32)
        first_row = self.sampling.first_row
        return noise.draw(
            name, self.sampling.seed, num_rows, shape, first_row=first_row, sample=sample, purpose=self.purpose
        )


def _latent_size(manifest: Manifest) -> int:
    return math.prod(manifest.latent_shape)
