"""The README's examples run as they are written, and the replies that it shows are those that come."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from service_process import ServiceProcess

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SHIPPED = ROOT / "models" / "shipped"
ADDRESS = "localhost:8000"
TOLERANCE = 1e-4  # of shown numbers; codes are integers or strings and must be equal

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Example(NamedTuple):
    """A command, and the reply that stands under it, if one does."""

    line: int
    command: str
    reply: str | None


def fenced_blocks(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Every fenced block of a document: its line, its language, its content, and the text between it and the next."""
    fences = list(re.finditer(r"^```(\w*)\n(.*?)^```\n", text, re.MULTILINE | re.DOTALL))
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        after = text[fence.end() : following.start() if following else len(text)]
        yield text.count("\n", 0, fence.start()) + 1, fence[1], fence[2], after


def curl_examples() -> list[Example]:
    blocks = list(fenced_blocks(README.read_text(encoding="utf-8")))
    examples = []
    for (line, language, command, after), following in zip(blocks, [*blocks[1:], None], strict=True):
        if language == "bash" and "curl" in command:
            has_reply = following is not None and following[1] == "json" and not after.strip()
            examples.append(Example(line, command, following[2] if following and has_reply else None))
    return examples


EXAMPLES = curl_examples()


@pytest.fixture(scope="module")
def shipped_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The service over the shipped models alone."""
    with ServiceProcess([SHIPPED], log=tmp_path_factory.mktemp("service") / "log") as service:
        yield service


def run_in_bash(command: str, service: ServiceProcess) -> subprocess.CompletedProcess[str]:
    """The command as a reader would paste it, in the folder that the repository was cloned to."""
    assert ADDRESS in command
    command = command.replace(ADDRESS, f"127.0.0.1:{service.port}")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_shown(shown: Any, real: Any, where: str = "reply") -> None:
    assert type(shown) is type(real), where
    if isinstance(shown, dict):
        assert shown.keys() == real.keys(), where
        for key in shown:
            assert_shown(shown[key], real[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert len(shown) == len(real), where
        for position, pair in enumerate(zip(shown, real, strict=True)):
            assert_shown(*pair, f"{where}[{position}]")
    elif isinstance(shown, float):
        assert shown == pytest.approx(real, abs=TOLERANCE), where
    else:
        assert shown == real, where


def test_the_readme_shows_how_to_encode_with_the_reply_and_how_to_decode() -> None:
    encodes = [example for example in EXAMPLES if "/encode" in example.command]
    assert any(example.reply is not None for example in encodes)
    assert any("/decode" in example.command for example in EXAMPLES)


def test_the_readme_decodes_the_very_code_that_it_encoded() -> None:
    (code,) = {code for example in EXAMPLES if example.reply for code in json.loads(example.reply).get("codes", [])}
    assert any(f'"{code}"' in example.command for example in EXAMPLES if "/decode" in example.command)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_a_curl_of_the_readme_fails_when_the_service_refuses(example: Example) -> None:
    # Without it curl exits with 0 whatever came, and the test below would see nothing.
    assert example.command.count("curl ") == example.command.count("--fail-with-body")


@needs_curl
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_a_command_of_the_readme_does_what_it_shows(example: Example, shipped_service: ServiceProcess) -> None:
    process = run_in_bash(example.command, shipped_service)
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stderr == ""
    assert process.stdout.strip()
    if example.reply is not None:
        assert_shown(json.loads(example.reply), json.loads(process.stdout))


@needs_curl
def test_a_command_that_the_service_refuses_ends_with_an_error(shipped_service: ServiceProcess) -> None:
    # The oracle of the test above: what it looks at does tell right from wrong.
    encode = next(example.command for example in EXAMPLES if "/encode" in example.command)
    process = run_in_bash(encode.replace("/encode", "/encodes"), shipped_service)
    assert process.returncode != 0


def python_blocks() -> list[tuple[int, str]]:
    blocks = fenced_blocks(README.read_text(encoding="utf-8"))
    return [(line, content) for line, language, content, _ in blocks if language == "python"]


@pytest.mark.parametrize(
    ("line", "code"), python_blocks(), ids=lambda value: f"line {value}" if isinstance(value, int) else "code"
)
def test_the_python_of_the_readme_runs_and_gives_the_shapes_that_it_says(
    line: int, code: str, shipped_service: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ADDRESS in code
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(code.replace(ADDRESS, f"127.0.0.1:{shipped_service.port}"), f"README.md:{line}", "exec"), names)
    said = re.findall(r"^ +(\w+) = .*# .*?\[([\d, ]+)\]$", code, re.MULTILINE)
    assert said
    for name, shape in said:
        assert list(names[name].shape) == [int(size) for size in shape.split(",")], name
