"""One loaded model: encode, decode, reconstruct, generate. Arrays in, arrays out; nothing here knows HTTP.

    engine = Engine.load(Repository(Path("models/shipped")).read("mnist-binary"))
    codes = engine.encode(images).codes

Shapes: B rows, S samples, N latents, K categories, D input values; `*latent` is N (binary) or N, K (categorical),
`*input` the manifest's input shape. With one sample there is no sample axis; with more it follows the rows.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models import noise
from models.codes import Codes
from models.graphs import signatures
from models.manifest import FactorisedPrior, Manifest, Role
from models.relaxations import RELAXATIONS, STANDARD_NOISE
from models.repository import StoredModel
from service import checks, prior
from service.checks import Floats
from service.errors import GraphRefused, invalid, shown
from service.results import Encoding, Generation, Reconstruction
from service.sampling import Sampling, checked_outputs
from service.sessions import GraphSession
from service.settings import Device

ENCODE_OUTPUTS = ("codes", "relaxed", "probabilities", "logits", "margins")
GENERATE_OUTPUTS = ("codes", "relaxed")

_MEASURED_ROWS = 64
_MEASURED_RUNS = 3


class Engine:
    """A model, ready: its graphs are loaded and match its manifest. Safe to use from several threads."""

    def __init__(
        self,
        manifest: Manifest,
        graphs: Mapping[Role, GraphSession],
        *,
        manifest_sha256: str,
        max_rows_per_run: int = 256,
    ) -> None:
        """More rows than `max_rows_per_run` are run in pieces, which bounds memory and changes no answer."""
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self._graphs = graphs
        self._max_rows_per_run = max_rows_per_run

    @classmethod
    def load(
        cls, stored: StoredModel, *, device: Device = "auto", num_threads: int = 1, max_rows_per_run: int = 256
    ) -> Self:
        """Open the graphs of a verified model. Raises GraphRefused naming the file, or DeviceUnavailable.

        Does not run it: whether this host reproduces the golden vectors is `golden.check`'s to say.
        """
        graphs = {}
        for role, signature in signatures(stored.manifest).items():
            try:
                graphs[role] = GraphSession(stored.graphs[role], signature, device=device, num_threads=num_threads)
            except GraphRefused as error:
                raise GraphRefused(f"{stored.folder / stored.manifest.graphs[role].file}: {error}") from error
        return cls(stored.manifest, graphs, manifest_sha256=stored.manifest_sha256, max_rows_per_run=max_rows_per_run)

    @property
    def provider(self) -> str:
        """The execution provider that the graphs really run on; all that differ, if they do."""
        return ", ".join(sorted({graph.provider for graph in self._graphs.values()}))

    @cached_property
    def seconds_per_row(self) -> float:
        """What a row costs on this host, sampled and decoded again: the least of a few runs of its golden inputs."""
        num_rows = min(_MEASURED_ROWS, self._max_rows_per_run)
        rows = np.resize(self.manifest.golden.inputs.array(), (num_rows, self.manifest.input.size))
        return _least_seconds(lambda: self.reconstruct(rows, temperature=1.0, seed=0)) / num_rows

    def seconds_to_generate(self, num_codes: int) -> float:
        """What drawing that many codes costs on this host, measured once: the first one of an autoregressive prior
        takes a run for each latent, and others share its runs.
        """
        of_one, per_row = self._generation_seconds
        return max(of_one, num_codes * per_row)

    @cached_property
    def _generation_seconds(self) -> tuple[float, float]:
        """For a single code, and a row of many."""
        num_rows = min(_MEASURED_ROWS, self._max_rows_per_run)
        of_many = _least_seconds(lambda: self.generate(num_rows, seed=0))
        return _least_seconds(lambda: self.generate(1, seed=0)), of_many / num_rows

    def encode(
        self,
        inputs: NDArray[Any],
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
        outputs: Sequence[str] = ("codes",),
    ) -> Encoding:
        """Inputs [B, D] or [B, *input], within the manifest's range, to what `outputs` asks for.

        Raises InvalidFields. `relaxation_temperature` is by default the manifest's. `first_row` is the number of the
        first row, where these inputs continue others: the noise of a row is that of (seed, its number).
        """
        sampling = self._sampling(temperature, relaxation_temperature, seed, num_samples, first_row)
        return self._encode(checks.inputs(self.manifest, inputs), sampling, checked_outputs(outputs, ENCODE_OUTPUTS))

    def decode(self, codes: NDArray[Any]) -> Floats:
        """Codes [B, N], integers in 0..K-1, to outputs [B, *input]. Raises InvalidFields."""
        return self._decode_codes(checks.codes(self.manifest, codes))

    def decode_relaxed(self, relaxed: NDArray[Any]) -> Floats:
        """Relaxed codes [B, *latent] to outputs [B, *input].

        Raises InvalidFields unless values lie in [0, 1] and those of a categorical latent sum to 1 within
        checks.SIMPLEX_TOLERANCE.
        """
        return self._run_decoder(checks.relaxed(self.manifest, relaxed))

    def reconstruct(
        self,
        inputs: NDArray[Any],
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
        outputs: Sequence[str] = ("codes",),
    ) -> Reconstruction:
        """Inputs to codes and back, with the error of each; arguments and errors as `encode`."""
        wanted = checked_outputs(outputs, ENCODE_OUTPUTS)
        sampling = self._sampling(temperature, relaxation_temperature, seed, num_samples, first_row)
        rows = checks.inputs(self.manifest, inputs)
        encoding = self._encode(rows, sampling, wanted | {"codes"})
        assert encoding.codes is not None
        lead = encoding.codes.shape[:-1]
        decoded = self._decode_codes(encoding.codes.reshape(-1, self.manifest.num_latents))
        flat = decoded.reshape(*lead, -1)
        original = rows if num_samples == 1 else rows[:, None]
        return Reconstruction(
            encoding=Encoding(encoding.seed, **{name: getattr(encoding, name) for name in wanted}),
            outputs=decoded.reshape(*lead, *self.manifest.input.shape),
            mean_squared_error=np.square(flat - original, dtype=np.float64).mean(axis=-1),
        )

    def generate(
        self,
        num_codes: int = 1,
        *,
        temperature: float = 1.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        first_row: int = 0,
        outputs: Sequence[str] = ("codes",),
    ) -> Generation:
        """Draw codes from the prior and decode them. Raises InvalidFields.

        `temperature` and `relaxed` as in `service.prior`: at 1 codes are exact samples of the prior, at 0 all are its
        most probable one (of a uniform prior, code 0). The noise is not that of `encode` with the same seed.
        """
        wanted = checked_outputs(outputs, GENERATE_OUTPUTS)
        if num_codes < 1:
            raise invalid("num_samples", "an integer of at least 1", shown(num_codes))
        sampling = self._sampling(temperature, relaxation_temperature, seed, 1, first_row)
        drawn = self._draw(num_codes, sampling, wanted | {"codes"})
        return Generation(
            sampling.seed,
            self._decode_codes(drawn["codes"]),
            **{name: array for name, array in drawn.items() if name in wanted},
        )

    def prior_logits(self, codes: NDArray[Any]) -> Floats:
        """Logits [B, *latent] of each latent under the prior, given the latents before it in codes [B, N].

        Raises InvalidFields.
        """
        corners = prior.as_corners(self.manifest, checks.codes(self.manifest, codes))
        return np.concatenate([self._conditionals(corners[at]) for at in self._pieces(len(corners))])

    # Running the graphs, in pieces of bounded size.

    def _sampling(
        self,
        temperature: float,
        relaxation_temperature: float | None,
        seed: int | None,
        num_samples: int,
        first_row: int,
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

    def _encode(self, rows: Floats, sampling: Sampling, wanted: frozenset[str]) -> Encoding:
        logits, most_probable, parameters = self._run_encoder(rows)
        found: dict[str, NDArray[Any]] = {"logits": logits}
        to_sample = wanted - {"logits"}
        if sampling.is_deterministic and to_sample == {"codes"}:
            # The commonest request: one run of the encoder.
            found["codes"] = np.repeat(most_probable[:, None], sampling.num_samples, axis=1)
        elif to_sample:
            found |= self._sample(parameters, sampling, to_sample, "posterior")
        if "probabilities" in found:
            found["probabilities"] = found["probabilities"][:, 0]
        if sampling.num_samples == 1:
            found |= {name: found[name][:, 0] for name in ("codes", "relaxed", "margins") if name in found}
        return Encoding(sampling.seed, **{name: array for name, array in found.items() if name in wanted})

    def _run_encoder(self, rows: Floats) -> tuple[Floats, Codes, Floats]:
        """Logits [B, *latent], the most probable codes [B, N], and parameters, which may be the logits themselves."""
        has_parameters = self.manifest.parameter_shape != self.manifest.latent_shape
        names = ("logits", "codes", "parameters") if has_parameters else ("logits", "codes")
        pieces = [self._graphs["encoder"].run(rows[at], outputs=names) for at in self._pieces(len(rows))]
        logits, codes, *parameters = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        return logits, codes, parameters[0] if parameters else logits

    def _draw(self, num_codes: int, sampling: Sampling, wanted: frozenset[str]) -> dict[str, NDArray[Any]]:
        """The wanted of codes [B, N] and relaxed [B, *latent], drawn from the prior."""
        shape = self.manifest.latent_shape
        if RELAXATIONS[self.manifest.relaxation.name].perturbs_logits and self.manifest.prior.name != "autoregressive":
            # The sampler's formula is the prior's: its graph draws, so that relaxed values are rounded as encode's are.
            logits = self._conditionals(np.zeros((num_codes, *shape), np.float32))
            found = self._sample(logits, sampling, wanted, "prior")
            return {name: array[:, 0] for name, array in found.items()}
        pieces = []
        for at in self._pieces(num_codes):
            standard = self._noise(
                STANDARD_NOISE[self.manifest.kind], at.stop - at.start, sampling, first_row=at.start, purpose="prior"
            )
            scores = prior.scores(self.manifest, standard, sampling.temperature, self._conditionals)
            drawn: dict[str, NDArray[Any]] = {"codes": prior.most_probable(self.manifest, scores)}
            if "relaxed" in wanted:
                drawn["relaxed"] = prior.relaxed(self.manifest, scores, sampling.relaxation_temperature)
            pieces.append(drawn)
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in wanted}

    def _conditionals(self, corners: Floats) -> Floats:
        """Logits of the prior, [B, *latent], of each latent given those before it in the corners [B, *latent]."""
        match self.manifest.prior.name:
            case "uniform":
                return np.zeros_like(corners)
            case "factorised":
                return np.broadcast_to(self._independent_logits, corners.shape)
            case "autoregressive":
                logits: Floats = self._graphs["prior"].run(corners, outputs=("logits",))[0]
                return logits

    @cached_property
    def _independent_logits(self) -> Floats:
        assert isinstance(self.manifest.prior, FactorisedPrior)
        logits: Floats = self.manifest.prior.logits.array()
        return logits

    def _noise(
        self,
        name: noise.NoiseName,
        num_rows: int,
        sampling: Sampling,
        *,
        first_row: int,
        sample: int = 0,
        purpose: noise.Purpose,
    ) -> Floats:
        """Standard noise [num_rows, *latent] of rows `first_row ..` of the request, or zeros where nothing is drawn."""
        shape = self.manifest.latent_shape
        if sampling.seed is None or sampling.is_deterministic:
            return np.zeros((num_rows, *shape), np.float32)
        return noise.draw(
            name,
            sampling.seed,
            num_rows,
            shape,
            first_row=sampling.first_row + first_row,
            sample=sample,
            purpose=purpose,
        )

    def _sample(
        self, parameters: Floats, sampling: Sampling, wanted: frozenset[str], purpose: noise.Purpose
    ) -> dict[str, NDArray[Any]]:
        """The wanted outputs of the sampler for parameters (or logits) of B rows, each [B, S, ...]."""
        # At temperature 0 every sample is the same one.
        num_samples = 1 if sampling.is_deterministic else sampling.num_samples
        names = tuple(wanted)
        rows = []
        for at in self._pieces(len(parameters)):
            piece = parameters[at]
            samples = []
            step = max(1, self._max_rows_per_run // len(piece))
            for first in range(0, num_samples, step):
                numbers = range(first, min(first + step, num_samples))
                samples.append(self._run_sampler(piece, at.start, numbers, sampling, names, purpose))
            rows.append([np.concatenate(arrays, axis=1) for arrays in zip(*samples, strict=True)])
        found = dict(zip(names, (np.concatenate(arrays) for arrays in zip(*rows, strict=True)), strict=True))
        if num_samples < sampling.num_samples:
            found = {name: np.repeat(array, sampling.num_samples, axis=1) for name, array in found.items()}
        return found

    def _run_sampler(
        self,
        parameters: Floats,
        first_row: int,
        samples: range,
        sampling: Sampling,
        names: Sequence[str],
        purpose: noise.Purpose,
    ) -> list[NDArray[Any]]:
        """One run: parameters of b rows, those from `first_row` on, for these samples; outputs [b, s, ...]."""
        lead = (len(parameters), len(samples))
        standard = np.stack(
            [
                self._noise(
                    self.manifest.relaxation.noise,
                    len(parameters),
                    sampling,
                    first_row=first_row,
                    sample=sample,
                    purpose=purpose,
                )
                for sample in samples
            ],
            axis=1,
        )
        num_rows = lead[0] * lead[1]
        outputs = self._graphs["sampler"].run(
            np.repeat(parameters, len(samples), axis=0),
            standard.reshape(num_rows, *self.manifest.latent_shape),
            np.full(num_rows, sampling.temperature, np.float32),
            np.full(num_rows, sampling.relaxation_temperature, np.float32),
            outputs=names,
        )
        return [output.reshape(*lead, *output.shape[1:]) for output in outputs]

    def _decode_codes(self, codes: Codes) -> Floats:
        pieces = [self._run_decoder(prior.as_corners(self.manifest, codes[at])) for at in self._pieces(len(codes))]
        return np.concatenate(pieces)

    def _run_decoder(self, relaxed: Floats) -> Floats:
        pieces = [
            self._graphs["decoder"].run(relaxed[at], outputs=("outputs",))[0] for at in self._pieces(len(relaxed))
        ]
        return np.concatenate(pieces).reshape(len(relaxed), *self.manifest.input.shape)

    def _pieces(self, num_rows: int) -> Iterator[slice]:
        for start in range(0, num_rows, self._max_rows_per_run):
            yield slice(start, min(start + self._max_rows_per_run, num_rows))


def _least_seconds(work: Callable[[], object]) -> float:
    """Of a few runs."""
    durations = []
    for _ in range(_MEASURED_RUNS):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return min(durations)
