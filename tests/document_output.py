"""Whether what a document shows is what its command printed.

Three dots stand for anything: within a line of text, as a line for any number of lines, in JSON as a string for any
value, as the last of a list for the rest of it, and as a key for all other keys. Spaces of text may be fewer or more.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from document_blocks import Block

_JSON_TOLERANCE = 1e-4
_DOTS = "..."
_NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(rf"(?P<dots>\.\.\.)|(?P<space>\s+)|(?P<number>(?<![\w.]){_NUMBER}(?![\w]))|(?P<other>.)", re.DOTALL)


def assert_shown(shown: Block, printed: str) -> None:
    """Raises AssertionError, naming the place, unless the block of output is what was printed."""
    if shown.language == "json":
        _assert_same_json(json.loads(shown.content), json.loads(printed), str(shown))
    else:
        _assert_same_text(shown, printed)


def _assert_same_text(shown: Block, printed: str) -> None:
    both = f"{shown} shows\n{shown.content}\nand what was printed is\n{printed}"
    lines = iter(printed.strip().splitlines())
    may_skip = False
    for expected in shown.content.strip().splitlines():
        if expected.strip() == _DOTS:
            may_skip = True
            continue
        pattern = _pattern(expected, with_numbers=shown.tolerance is not None)
        found = next((match for line in lines if (match := pattern.fullmatch(line.strip())) or not may_skip), None)
        assert found, f"no line is {expected!r}: {both}"
        _assert_near(expected, found.groups(), shown.tolerance, both)
        may_skip = False
    assert may_skip or next(lines, None) is None, f"there is more: {both}"


def _pattern(line: str, *, with_numbers: bool) -> re.Pattern[str]:
    """What a printed line must be; a group for each number, if numbers may be off."""
    pattern = ""
    for token in _TOKEN.finditer(line.strip()):
        if token["dots"]:
            pattern = pattern.removesuffix(r"\s+") + ".*"
        elif token["space"]:
            pattern += r"\s*" if pattern.endswith(".*") else r"\s+"
        elif token["number"] and with_numbers:
            pattern += f"({_NUMBER})"
        else:
            pattern += re.escape(token[0])
    return re.compile(pattern)


def _assert_near(line: str, got: Sequence[str], tolerance: float | None, both: str) -> None:
    if tolerance is None:
        return
    expected = [token["number"] for token in _TOKEN.finditer(line.strip()) if token["number"]]
    for wanted, number in zip(expected, got, strict=True):
        is_near = math.isclose(_value(wanted), _value(number), rel_tol=tolerance)
        assert is_near, f"{number} was printed for {wanted}: {both}"


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _assert_same_json(shown: Any, real: Any, where: str) -> None:
    if shown == "...":
        return
    assert type(shown) is type(real), where
    if isinstance(shown, dict):
        if "..." in shown:
            shown = {key: value for key, value in shown.items() if key != "..."}
            real = {key: real[key] for key in shown.keys() & real.keys()}
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
