"""An inference request: from the body's bytes to the array it brings, the outputs it wants, and its parameters.

Members of the JSON objects that the protocol does not name are passed over (clients send "model_name", among others);
parameters that nobody knows are not (see `parameters`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from models.manifest import Manifest
from service.errors import invalid, shown
from service.exchange import Content
from service.open_inference.framing import Tail, split
from service.open_inference.metadata import AVAILABLE, INPUTS, OUTPUTS, inputs_of
from service.open_inference.parameters import Parameters, flag, members
from service.open_inference.tensors import Declared, read_declaration, read_elements
from service.wire import parse_json

MAX_ID_LENGTH = 1024


@dataclass(frozen=True)
class RequestedOutput:
    """An output to return, and whether as bytes or as JSON."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InputTensor:
    """An array, and which of the model's inputs it is: `inputs`, `codes` or `relaxed`."""

    name: str
    array: NDArray[Any]


@dataclass(frozen=True)
class InferenceRequest:
    """What `POST .../infer` asks for."""

    id: str | None
    input: InputTensor | None
    """None draws codes from the prior."""
    outputs: tuple[RequestedOutput, ...]
    parameters: Parameters

    def wants(self, *names: str) -> bool:
        """Whether one of these outputs was asked for."""
        return any(output.name in names for output in self.outputs)


def read_request(body: Content, header_values: Sequence[str], manifest: Manifest, *, max_rows: int) -> InferenceRequest:
    """`header_values` are those of Inference-Header-Content-Length. Raises MalformedBody or InvalidFields.

    Rows times samples are compared with `max_rows` before any array is made.
    """
    text, rest = split(body, header_values)
    document = parse_json(text)
    if type(document) is not dict:
        raise invalid("body", "a JSON object", shown(document))
    request_id = _id(document)
    parameters = Parameters.read(document)
    declared = _declared(document, manifest)
    outputs = _outputs(document, declared.tensor.name if declared else None, parameters)
    _limit_rows(declared, parameters, max_rows)
    tail = Tail(rest)
    tensor = InputTensor(declared.tensor.name, read_elements(declared, tail)) if declared else None
    tail.close()
    return InferenceRequest(request_id, tensor, outputs, parameters)


def _id(document: Mapping[str, Any]) -> str | None:
    request_id = document.get("id")
    if request_id is None:
        return None
    expected = f"a string of at most {MAX_ID_LENGTH} characters"
    if type(request_id) is not str:
        raise invalid("id", expected, shown(request_id))
    if len(request_id) > MAX_ID_LENGTH:
        raise invalid("id", expected, f"{len(request_id)} characters")
    return request_id


def _declared(document: Mapping[str, Any], manifest: Manifest) -> Declared | None:
    given = document.get("inputs")
    expected = f"a list of one tensor ({', '.join(INPUTS)}), or of none to generate"
    if type(given) is not list:
        raise invalid("inputs", expected, "nothing" if given is None else shown(given))
    if len(given) > 1:
        raise invalid("inputs", expected, f"{len(given)} tensors")
    return read_declaration(given[0], "inputs[0]", inputs_of(manifest)) if given else None


def _outputs(
    document: Mapping[str, Any], input_name: str | None, parameters: Parameters
) -> tuple[RequestedOutput, ...]:
    """Those asked for, in their order; where none are, all that there are, as the protocol has it."""
    available = AVAILABLE[input_name]
    given = document.get("outputs")
    if given is None or given == []:
        return tuple(RequestedOutput(name, parameters.binary_data_output) for name in available)
    if type(given) is not list:
        raise invalid("outputs", "a list of objects", shown(given))
    if len(given) > len(OUTPUTS):
        raise invalid("outputs", f"at most {len(OUTPUTS)}, each once", shown(given))
    outputs: list[RequestedOutput] = []
    for index, output in enumerate(given):
        field = f"outputs[{index}]"
        if type(output) is not dict:
            raise invalid(field, "an object", shown(output))
        name = output.get("name")
        if type(name) is not str or name not in available:
            brought = f"the input {input_name}" if input_name else "no input"
            raise invalid(f"{field}.name", f"one of {', '.join(available)} with {brought}", shown(name))
        if any(name == earlier.name for earlier in outputs):
            raise invalid(f"{field}.name", "each output once", f"{name} again")
        own = members(output, f"{field}.parameters", ("binary_data",))
        binary = flag(own, f"{field}.parameters", "binary_data")
        outputs.append(RequestedOutput(name, parameters.binary_data_output if binary is None else binary))
    return tuple(outputs)


def _limit_rows(declared: Declared | None, parameters: Parameters, max_rows: int) -> None:
    num_samples = parameters.num_samples if parameters.num_samples is not None else 1
    if num_samples < 1:
        raise invalid("parameters.num_samples", "an integer of at least 1", shown(num_samples))
    num_rows = (declared.num_rows if declared else 1) * num_samples
    if num_rows > max_rows:
        field = f"{declared.field}.shape[0]" if declared else "parameters.num_samples"
        raise invalid(
            field, f"at most {max_rows} rows times samples in a request", f"{shown(num_rows)}; split the request"
        )
