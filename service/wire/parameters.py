"""Parameters of a request, from a JSON document or from a query, held to their schema."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qs

import orjson
from pydantic import BaseModel, ValidationError

from service.errors import FieldError, InvalidFields, invalid, quoted, shown
from service.schemas import EXPECTED

MAX_FIELD_ERRORS = 10
_MAX_QUERY_FIELDS = 32
_LISTS = frozenset({"outputs"})

RequestModel = TypeVar("RequestModel", bound=BaseModel)


def parse_request(
    document: Any, model: type[RequestModel], rows: frozenset[str] = frozenset()
) -> tuple[RequestModel, dict[str, Any]]:
    """The parameters of a request, and those of `rows` that its document has, as they came.

    Raises InvalidFields for each parameter that is missing, unknown or does not fit.
    """
    if not isinstance(document, dict):
        raise invalid("body", "a JSON object", shown(document))
    # Before pydantic, which would make an error of each of a million names.
    if unknown := _unknown_names(document, model):
        raise InvalidFields(*unknown)
    given: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for name, value in document.items():
        (given if name in rows else parameters)[name] = value
    return _validated(parameters, model) if parameters else _defaults(model), given


@lru_cache
def _defaults(model: type[RequestModel]) -> RequestModel:
    """What most requests ask for. Whoever gets it does not change it."""
    return _validated({}, model)


def _validated(parameters: dict[str, Any], model: type[RequestModel]) -> RequestModel:
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)[:MAX_FIELD_ERRORS]
        raise InvalidFields(*(_field_error(problem) for problem in problems)) from None


def parse_query(query: bytes) -> dict[str, Any]:
    """A query as a document: `temperature=0.7&outputs=codes,margins`. Raises InvalidFields.

    What reads as a JSON number is one; everything else is text, and the schema says whether it may be. Lists are
    separated by commas.
    """
    if not query:
        return {}
    try:
        fields = parse_qs(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS
        )
    except ValueError:
        raise invalid("query", f"at most {_MAX_QUERY_FIELDS} parameters in UTF-8, percent-encoded", "others") from None
    document: dict[str, Any] = {}
    for name, values in fields.items():
        if len(values) > 1:
            raise invalid(field_path([name]), "one value", f"{len(values)} values")
        document[name] = values[0].split(",") if name in _LISTS else _number_or_text(values[0])
    return document


def with_query(document: Any, query: bytes) -> Any:
    """A JSON document with the parameters of a query beside it. Raises InvalidFields for what both say."""
    if not isinstance(document, dict):
        return document
    parameters = parse_query(query)
    if twice := parameters.keys() & document.keys():
        raise invalid(field_path([min(twice)]), "one value, in the query or in the body", "both")
    return document | parameters


def _number_or_text(text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if type(value) in (int, float) else text


def field_path(steps: Sequence[Any]) -> str:
    """`["inputs", 3, 17]` as `inputs[3][17]`; clipped, since names come from outside."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
    return path if len(path) <= 60 and path.isascii() and path.isprintable() else quoted(path)


def _unknown_names(document: dict[str, Any], model: type[BaseModel]) -> list[FieldError]:
    known = model.__pydantic_fields__
    if document.keys() <= known.keys():
        return []
    unknown = islice((name for name in document if name not in known), MAX_FIELD_ERRORS)
    return [FieldError(field_path([name]), f"one of {', '.join(known)}", "an unknown name") for name in unknown]


def _field_error(problem: Any) -> FieldError:
    """What pydantic found, in the three words that every error of ours has."""
    name = problem["loc"][0]
    said = problem["msg"].removeprefix("Input should be ").removeprefix("List should have ")
    received = "nothing" if problem["type"] == "missing" else shown(problem["input"])
    return FieldError(field_path(problem["loc"]), EXPECTED.get(name, said), received)
