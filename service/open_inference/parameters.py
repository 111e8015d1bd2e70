"""Parameters of a request, of its tensors and of its outputs: those of this service, and those the protocol reserves.

    temperature, relaxation_temperature, seed, first_row,
    num_samples                                              as in /v1
    binary_data_output, binary_data, binary_data_size        the binary tensor data extension
    timeout                                                  microseconds, as in Triton; 0 for none
    priority                                                 ignored, as by a Triton model without priority levels
    sequence_id, sequence_start, sequence_end                refused where they ask for a sequence: nothing is kept here
                                                             from one request to the next

Everything else is refused, `headers`, `triton_*` and shared memory among it: a parameter that is misspelt and ignored
would change codes without a word.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from service.errors import invalid, quoted, shown
from service.sampling import FIRST_ROW_EXPECTED, RELAXATION_TEMPERATURE_EXPECTED, SEED_EXPECTED, TEMPERATURE_EXPECTED

SAMPLING = ("temperature", "relaxation_temperature", "seed", "first_row", "num_samples")
_RESERVED = ("timeout", "priority", "sequence_id", "sequence_start", "sequence_end")
_REQUEST = (*SAMPLING, "binary_data_output", *_RESERVED)

_NUM_SAMPLES_EXPECTED = "an integer of at least 1"
_BOOLEAN_EXPECTED = "true or false"
_TIMEOUT_EXPECTED = f"a number of microseconds, an integer from 0 to {(1 << 63) - 1}"
_PRIORITY_EXPECTED = f"an integer from 0 to {(1 << 64) - 1}"
_NO_SEQUENCE = "none: models keep no state from one request to the next"


@dataclass(frozen=True)
class Parameters:
    """Those of a whole request; None where nothing was said. What range a temperature or seed may have, the engine
    checks.
    """

    temperature: float | None = None
    relaxation_temperature: float | None = None
    seed: int | None = None
    first_row: int | None = None
    num_samples: int | None = None
    binary_data_output: bool = False
    timeout_seconds: float | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the request's JSON object. Raises InvalidFields."""
        given = members(document, "parameters", _REQUEST)
        _refuse_sequence(given)
        _integer(given, "priority", (1 << 64) - 1, _PRIORITY_EXPECTED)
        timeout = _integer(given, "timeout", (1 << 63) - 1, _TIMEOUT_EXPECTED)
        return cls(
            temperature=_number(given, "temperature", TEMPERATURE_EXPECTED),
            relaxation_temperature=_number(given, "relaxation_temperature", RELAXATION_TEMPERATURE_EXPECTED),
            seed=_integer(given, "seed", None, SEED_EXPECTED),
            first_row=_integer(given, "first_row", None, FIRST_ROW_EXPECTED),
            num_samples=_integer(given, "num_samples", None, _NUM_SAMPLES_EXPECTED),
            binary_data_output=bool(flag(given, "parameters", "binary_data_output")),
            timeout_seconds=timeout / 1e6 if timeout else None,
        )

    def refuse_sampling(self, where: str) -> None:
        """Raises InvalidFields when a sampling parameter was given to what draws nothing."""
        for name in SAMPLING:
            if (value := getattr(self, name)) is not None:
                raise invalid(f"parameters.{name}", f"none with {where}", shown(value))


def members(document: Mapping[str, Any], field: str, known: Collection[str]) -> dict[str, Any]:
    """The `parameters` of a JSON object, none by default. Raises InvalidFields, for unknown names too."""
    given = document.get("parameters")
    if given is None:
        return {}
    if type(given) is not dict:
        raise invalid(field, "an object", shown(given))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name[:64], known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise invalid(f"{field}.{quoted(name)}", f"one of {', '.join(known)}", f"an unknown parameter{hint}")
    return given


def flag(given: Mapping[str, Any], field: str, name: str) -> bool | None:
    """Raises InvalidFields unless the parameter is absent or a boolean."""
    value = given.get(name)
    if value is not None and type(value) is not bool:
        raise invalid(f"{field}.{name}", _BOOLEAN_EXPECTED, shown(value))
    return value


def _number(given: Mapping[str, Any], name: str, expected: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise invalid(f"parameters.{name}", expected, shown(value))
    return float(value)


def _integer(given: Mapping[str, Any], name: str, maximum: int | None, expected: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0 or (maximum is not None and value > maximum):
        raise invalid(f"parameters.{name}", expected, shown(value))
    return value


def _refuse_sequence(given: Mapping[str, Any]) -> None:
    """0 and "" mean no sequence, as for Triton."""
    sequence = given.get("sequence_id")
    if sequence is not None and (type(sequence) not in (int, str) or sequence not in (0, "")):
        raise invalid("parameters.sequence_id", _NO_SEQUENCE, shown(sequence))
    for name in ("sequence_start", "sequence_end"):
        if flag(given, "parameters", name):
            raise invalid(f"parameters.{name}", _NO_SEQUENCE, "true")
