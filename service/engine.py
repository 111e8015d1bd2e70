"""One loaded model: encode, decode, reconstruct, generate. Arrays in, arrays out; nothing here knows HTTP.

    engine = Engine.load(Repository(Path("models/shipped")).read("mnist-binary"))
    codes = engine.encode(images).codes

Shapes: B rows, S samples, N latents, K categories, D input values; `*latent` is N (binary) or N, K (categorical),
`*input` the manifest's input shape. With one sample there is no sample axis; with more it follows the rows.
"""

from collections.abc import Coroutine, Mapping, Sequence
from functools import cached_property
from typing import Any, Self, TypedDict, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from models.graphs import signatures
from models.manifest import Manifest, Role
from models.repository import StoredModel
from service import checks, prior
from service.checks import Floats
from service.errors import GraphRefused, invalid, shown
from service.operations import Arrays, Decode, Encode, Generate, Operation, Reconstruct, in_parts, joined
from service.providers import CPU, DeviceOptions
from service.results import Encoding, Generation, Reconstruction
from service.sampling import Sampling, checked_outputs
from service.sessions import Cost, GraphSession
from service.settings import Device

ENCODE_OUTPUTS = ("codes", "relaxed", "probabilities", "logits", "margins", "near_ties")
GENERATE_OUTPUTS = ("codes", "relaxed")

_CPU_ROWS_PER_RUN, _GPU_ROWS_PER_RUN = 64, 1024
_MEASURED_ROWS = 64
_GPU_NEAR_TIE_MARGIN = 1e-4
"""Until it was measured (benchmarks/serving/invariance.py): what golden vectors must agree within."""

Answer = TypeVar("Answer")


class DrawParameters(TypedDict, total=False):
    """How codes are drawn."""

    temperature: float
    """By default 0 for inputs, 1 for the prior."""
    relaxation_temperature: float | None
    """By default the manifest's."""
    seed: int | None
    """By default drawn, above temperature 0."""
    first_row: int
    """Number of the first row, where these continue others: the noise of a row is that of (seed, its number)."""


class SampleParameters(DrawParameters, total=False):
    """How codes are drawn for inputs."""

    num_samples: int
    """By default 1."""


class EncodeParameters(SampleParameters, total=False):
    """How inputs are encoded, and what is wanted of it."""

    outputs: Sequence[str]
    """Of ENCODE_OUTPUTS; by default codes."""


class GenerateParameters(DrawParameters, total=False):
    """How codes are drawn from the prior, and what is wanted beside their outputs."""

    outputs: Sequence[str]
    """Of GENERATE_OUTPUTS; by default codes."""


class Engine:
    """A model, ready: its graphs are loaded and match its manifest. Safe to use from several threads."""

    def __init__(
        self,
        manifest: Manifest,
        graphs: Mapping[Role, GraphSession],
        *,
        manifest_sha256: str,
        max_rows_per_run: int | None = None,
        near_tie_margin: float | None = None,
    ) -> None:
        """More rows than `max_rows_per_run` are run in parts, which bounds memory and changes no answer.

        By default as many as make a row cheapest: few on the CPU, many on a GPU. A row is a near tie where a symbol's
        margin is below `near_tie_margin`; by default nowhere on the CPU, where codes do not depend on the batch.
        """
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self._graphs = graphs
        on_cpu = all(graph.provider == CPU for graph in graphs.values())
        self.max_rows_per_run = max_rows_per_run or (_CPU_ROWS_PER_RUN if on_cpu else _GPU_ROWS_PER_RUN)
        if near_tie_margin is None:
            near_tie_margin = 0.0 if on_cpu else _GPU_NEAR_TIE_MARGIN
        self.near_tie_margin = near_tie_margin

    @classmethod
    def load(
        cls,
        stored: StoredModel,
        *,
        device: Device = "auto",
        num_threads: int = 1,
        max_rows_per_run: int | None = None,
        options: DeviceOptions | None = None,
        near_tie_margin: float | None = None,
    ) -> Self:
        """Open the graphs of a verified model. Raises GraphRefused naming the file, or DeviceUnavailable.

        Does not run it: whether this host reproduces the golden vectors is `golden.check`'s to say.
        """
        graphs = {}
        for role, signature in signatures(stored.manifest).items():
            try:
                graphs[role] = GraphSession(
                    stored.graphs[role],
                    signature,
                    device=device,
                    num_threads=num_threads,
                    options=options,
                    max_rows=max_rows_per_run or _GPU_ROWS_PER_RUN,
                )
            except GraphRefused as error:
                raise GraphRefused(f"{stored.folder / stored.manifest.graphs[role].file}: {error}") from error
        return cls(
            stored.manifest,
            graphs,
            manifest_sha256=stored.manifest_sha256,
            max_rows_per_run=max_rows_per_run,
            near_tie_margin=near_tie_margin,
        )

    @property
    def provider(self) -> str:
        """The execution provider that the graphs really run on; all that differ, if they do."""
        return ", ".join(sorted({graph.provider for graph in self._graphs.values()}))

    @property
    def seconds_per_row(self) -> float:
        """What a row costs in large runs, encoded, sampled and decoded again."""
        return sum(self.costs[role].seconds_per_row for role in ("encoder", "sampler", "decoder"))

    @cached_property
    def costs(self) -> Mapping[Role, Cost]:
        """What runs of each graph cost on this host: measured once, the least of a few runs."""
        num_rows = min(_MEASURED_ROWS, self.max_rows_per_run)
        return {role: graph.cost(num_rows) for role, graph in self._graphs.items()}

    def warm(self) -> None:
        """Run what only a first run of a size would have to plan; on the CPU there is nothing."""
        for graph in self._graphs.values():
            graph.warm(self.max_rows_per_run)

    def seconds_to_generate(self, num_codes: int) -> float:
        """What drawing that many codes costs on this host: an autoregressive prior takes a run for each latent."""
        draws = self.costs["sampler"].seconds(num_codes)
        if "prior" in self.costs:
            draws = self.manifest.num_latents * self.costs["prior"].seconds(num_codes)
        return draws + self.costs["decoder"].seconds(num_codes)

    def encode(self, inputs: NDArray[Any], **parameters: Unpack[EncodeParameters]) -> Encoding:
        """Inputs [B, D] or [B, *input], within the manifest's range, to what is wanted. Raises InvalidFields."""
        operation = self.to_encode(inputs, **parameters)
        return self.encoding(operation, self._now(operation))

    def decode(self, codes: NDArray[Any]) -> Floats:
        """Codes [B, N], integers in 0..K-1, to outputs [B, *input]. Raises InvalidFields."""
        return self._now(self.to_decode(codes))["outputs"]

    def decode_relaxed(self, relaxed: NDArray[Any]) -> Floats:
        """Relaxed codes [B, *latent] to outputs [B, *input].

        Raises InvalidFields unless values lie in [0, 1] and those of a categorical latent sum to 1 within
        checks.SIMPLEX_TOLERANCE.
        """
        return self._now(self.to_decode_relaxed(relaxed))["outputs"]

    def reconstruct(self, inputs: NDArray[Any], **parameters: Unpack[EncodeParameters]) -> Reconstruction:
        """Inputs to codes and back, with the error of each; arguments and errors as `encode`."""
        operation = self.to_reconstruct(inputs, **parameters)
        return self.reconstruction(operation, self._now(operation))

    def generate(self, num_codes: int = 1, **parameters: Unpack[GenerateParameters]) -> Generation:
        """Draw codes from the prior and decode them. Raises InvalidFields.

        `temperature` and `relaxed` as in `service.prior`: at 1 codes are exact samples of the prior, at 0 all are its
        most probable one (of a uniform prior, code 0). The noise is not that of `encode` with the same seed.
        """
        operation = self.to_generate(num_codes, **parameters)
        return self.generation(operation, self._now(operation))

    def prior_logits(self, codes: NDArray[Any]) -> Floats:
        """Logits [B, *latent] of each latent under the prior, given the latents before it in codes [B, N].

        Raises InvalidFields.
        """
        corners = prior.as_corners(self.manifest, checks.codes(self.manifest, codes))
        step = self.max_rows_per_run
        pieces = [corners[start : start + step] for start in range(0, len(corners), step)]
        return np.concatenate([_complete(prior.conditionals(self.manifest, self._run_now)(piece)) for piece in pieces])

    # The same in three steps, for whoever decides himself when and where graphs are run: check, run, name the arrays.

    def to_encode(
        self, inputs: NDArray[Any], *, outputs: Sequence[str] = ("codes",), **parameters: Unpack[SampleParameters]
    ) -> Encode:
        """The operation behind `encode`, checked. Raises InvalidFields."""
        wanted = checked_outputs(outputs, ENCODE_OUTPUTS)
        sampling = self._sampling(**parameters)
        return Encode(self.manifest, checks.inputs(self.manifest, inputs), sampling, wanted, self.near_tie_margin)

    def to_decode(self, codes: NDArray[Any]) -> Decode:
        """The operation behind `decode`, checked. Raises InvalidFields."""
        return Decode(self.manifest, codes=checks.codes(self.manifest, codes))

    def to_decode_relaxed(self, relaxed: NDArray[Any]) -> Decode:
        """The operation behind `decode_relaxed`, checked. Raises InvalidFields."""
        return Decode(self.manifest, relaxed=checks.relaxed(self.manifest, relaxed))

    def to_reconstruct(self, inputs: NDArray[Any], **parameters: Unpack[EncodeParameters]) -> Reconstruct:
        """The operation behind `reconstruct`, checked. Raises InvalidFields."""
        return Reconstruct(self.to_encode(inputs, **parameters))

    def to_generate(
        self,
        num_codes: int,
        *,
        temperature: float = 1.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        first_row: int = 0,
        outputs: Sequence[str] = ("codes",),
    ) -> Generate:
        """The operation behind `generate`, checked. Raises InvalidFields."""
        wanted = checked_outputs(outputs, GENERATE_OUTPUTS)
        if num_codes < 1:
            raise invalid("num_samples", "an integer of at least 1", shown(num_codes))
        sampling = self._sampling(temperature, relaxation_temperature, seed, first_row=first_row)
        return Generate(self.manifest, num_codes, sampling, wanted)

    def run_graph(self, role: Role, arrays: Sequence[NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs of one graph, for inputs in the order of its signature. From any thread."""
        return self._graphs[role].run(*arrays, outputs=outputs)

    @staticmethod
    def encoding(operation: Encode, arrays: Arrays) -> Encoding:
        """What the operation found, by name."""
        return Encoding(operation.sampling.seed, **arrays)

    @staticmethod
    def reconstruction(operation: Reconstruct, arrays: Arrays) -> Reconstruction:
        """What the operation found, by name."""
        outputs, mean_squared_error = arrays.pop("outputs"), arrays.pop("mean_squared_error")
        return Reconstruction(Engine.encoding(operation.encode, arrays), outputs, mean_squared_error)

    @staticmethod
    def generation(operation: Generate, arrays: Arrays) -> Generation:
        """What the operation found, by name."""
        return Generation(operation.sampling.seed, **arrays)

    def _sampling(
        self,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
    ) -> Sampling:
        if relaxation_temperature is None:
            relaxation_temperature = self.manifest.relaxation_temperature
        return Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
        )

    def _now(self, operation: Operation) -> Arrays:
        """Everything in this thread, part after part."""
        parts = in_parts(operation, self.max_rows_per_run)
        return joined([_complete(part.arrays(self._run_now, self.max_rows_per_run)) for part in parts])

    async def _run_now(self, role: Role, arrays: Sequence[NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        return self.run_graph(role, arrays, outputs)


def _complete(coroutine: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        answer: Answer = finished.value
        return answer
    raise RuntimeError("an operation waited although its runs are done at once; this is a bug")
