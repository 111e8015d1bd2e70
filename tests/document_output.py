"""Whether what a document shows is what its command printed.

Three dots stand for anything: within a line of text, as a line for any number of lines, in JSON as a string for any
value, and as the last of a list for the rest of it. Spaces of text may be fewer or more.
"""

import json
import math
import re
from typing import Any

from document_blocks import Block

_JSON_TOLERANCE = 1e-4
_NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(rf"(?P<dots>\.\.\.)|(?P<space>\s+)|(?P<number>(?<![\w.]){_NUMBER}(?![\w]))|(?P<other>.)", re.DOTALL)


def assert_shown(shown: Block, printed: str) -> None:
    """Raises AssertionError, naming the place, unless the block of output is what was printed."""
    if shown.language == "json":
        _assert_same_json(json.loads(shown.content), json.loads(printed), str(shown))
    else:
        _assert_same_text(shown, printed)


def _assert_same_text(shown: Block, printed: str) -> None:
    tolerance = shown.tolerance
    numbers = []
    pattern = ""
    for token in _TOKEN.finditer(shown.content.strip()):
        if token["dots"]:
            pattern += ".*?"
        elif token["space"]:
            pattern += r"\s+" if pattern[-3:] != ".*?" else r"\s*"
        elif token["number"] and tolerance is not None:
            numbers.append(token["number"])
            pattern += f"({_NUMBER})"
        else:
            pattern += re.escape(token[0])
    found = re.fullmatch(pattern, printed.strip(), re.DOTALL)
    assert found, f"{shown} shows\n{shown.content}\nand what was printed is\n{printed}"
    for expected, got in zip(numbers, found.groups(), strict=True):
        near = math.isclose(_value(expected), _value(got), rel_tol=tolerance or 0.0, abs_tol=1e-9)
        assert near, f"{shown} shows {expected}, and {got} was printed:\n{printed}"


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _assert_same_json(shown: Any, real: Any, where: str) -> None:
    if shown == "...":
        return
    assert type(shown) is type(real), where
    if isinstance(shown, dict):
        assert shown.keys() == real.keys(), where
        for key in shown:
            _assert_same_json(shown[key], real[key], f"{where}: {key}")
    elif isinstance(shown, list):
        if shown and shown[-1] == "...":
            shown, real = shown[:-1], real[: len(shown) - 1]
        assert len(shown) == len(real), where
        for position, pair in enumerate(zip(shown, real, strict=True)):
            _assert_same_json(*pair, f"{where}[{position}]")
    elif isinstance(shown, float):
        assert math.isclose(shown, real, abs_tol=_JSON_TOLERANCE), f"{where}: {shown} is shown, and {real} came"
    else:
        assert shown == real, f"{where}: {shown!r} is shown, and {real!r} came"
