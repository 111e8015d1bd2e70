"""Does this host, with this ONNX Runtime and provider, make of a model's golden inputs what they became at export?

Only then is the model served: a code that changes with the machine is not a code.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Engine
from service.errors import GoldenMismatch, InvalidFields
from service.sampling import MAX_RELAXATION_TEMPERATURE, MAX_TEMPERATURE, MIN_RELAXATION_TEMPERATURE

TOLERANCE = 1e-4
"""Of numbers, relative where they are above 1; and a symbol whose margin is below it may be another one, since there
two scores tie."""


def check(engine: Engine) -> None:
    """Raise GoldenMismatch naming the vector, the row and the difference.

    Beside the golden vectors, the graphs must stay finite at every temperature that a request may ask for.
    """
    try:
        _reproduces(engine)
        _stays_finite(engine)
    except InvalidFields as error:
        raise GoldenMismatch(f"golden vectors that the model itself refuses: {error}") from error
    except (GoldenMismatch, MemoryError):
        raise
    except Exception as error:  # a graph that loads may still fail to run; ONNX Runtime's errors share no base but this
        raise GoldenMismatch(f"a graph cannot be run: {str(error).splitlines()[0][:300]}") from error


def _reproduces(engine: Engine) -> None:
    golden = engine.manifest.golden
    inputs = golden.inputs.array()
    codes = golden.codes.array()
    firm = engine.encode(inputs, outputs=("logits", "codes", "margins"))
    _compare_numbers("logits", firm.logits, golden.logits.array())
    _compare_codes("codes", firm.codes, codes, firm.margins)
    # The short way, without the sampler, is the one that most requests take.
    _compare_codes("codes", engine.encode(inputs).codes, codes, firm.margins)
    sampled = engine.encode(inputs, temperature=golden.temperature, seed=golden.seed, outputs=("codes", "margins"))
    _compare_codes("sampled_codes", sampled.codes, golden.sampled_codes.array(), sampled.margins)
    outputs = golden.outputs.array()
    _compare_numbers("outputs", engine.decode(codes).reshape(outputs.shape), outputs)
    if golden.prior_logits is not None:
        _compare_numbers("prior_logits", engine.prior_logits(codes), golden.prior_logits.array())


def _stays_finite(engine: Engine) -> None:
    inputs = engine.manifest.golden.inputs.array()
    for temperature in (0.0, MAX_TEMPERATURE):
        for relaxation_temperature in (MIN_RELAXATION_TEMPERATURE, MAX_RELAXATION_TEMPERATURE):
            encoding = engine.encode(
                inputs,
                temperature=temperature,
                relaxation_temperature=relaxation_temperature,
                seed=0,
                outputs=("relaxed", "probabilities", "margins"),
            )
            for name in ("relaxed", "probabilities", "margins"):
                if not np.isfinite(getattr(encoding, name)).all():
                    raise GoldenMismatch(
                        f"{name}: expected finite values at temperature {temperature:g} and relaxation_temperature "
                        f"{relaxation_temperature:g}, got NaN or infinity"
                    )


def _compare_numbers(vector: str, found: NDArray[Any] | None, expected: NDArray[Any]) -> None:
    assert found is not None
    difference = np.abs(found.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    wrong = np.argwhere(~(difference <= TOLERANCE))
    if len(wrong):
        raise GoldenMismatch(
            f"golden {vector}: expected the manifest's values within {TOLERANCE:g}, got a difference of "
            f"{difference[tuple(wrong[0])]:.3g} in row {wrong[0][0]}"
        )


def _compare_codes(
    vector: str, found: NDArray[Any] | None, expected: NDArray[Any], margins: NDArray[Any] | None
) -> None:
    assert found is not None
    assert margins is not None
    wrong = np.argwhere((found != expected) & ~(margins < TOLERANCE))
    if len(wrong):
        row, latent = map(int, wrong[0])
        raise GoldenMismatch(
            f"golden {vector}: expected {expected[row, latent]} for latent {latent} of row {row}, "
            f"got {found[row, latent]} with a margin of {margins[row, latent]:.3g}"
        )
