"""What the documents say to run does run, and prints what they show. How: `document_blocks`, `document_reader`."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from document_blocks import OUTPUT_LANGUAGES, ROOT, RUN_LANGUAGES, Block, blocks_of, commands_of
from document_output import assert_shown
from document_reader import Reader
from service_process import ServiceProcess

README = ROOT / "README.md"
DOCS = ROOT / "docs"
READ_ELSEWHERE = [ROOT / "client" / "README.md", DOCS / "tutorial.md"]
PAGES = [README, *(page for page in sorted(DOCS.rglob("*.md")) if page not in READ_ELSEWHERE)]
"""Those read here, beside a service of the shipped models; blocks that train are run in `end_to_end`."""
SHIPPED = ROOT / "models" / "shipped"

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

COMMANDS = [block for page in PAGES for block in commands_of(page)]


@pytest.fixture(scope="module")
def shipped_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The service over the shipped models alone."""
    with ServiceProcess([SHIPPED], log=tmp_path_factory.mktemp("service") / "log") as service:
        yield service


@pytest.fixture(scope="module")
def readers(shipped_service: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Reader]]:
    """One for each page."""
    readers = {
        page: Reader(commands_of(page), tmp_path_factory.mktemp("clone"), port=shipped_service.port) for page in PAGES
    }
    yield readers
    for reader in readers.values():
        reader.close()


@pytest.mark.parametrize("block", [block for block in COMMANDS if not block.is_slow], ids=str)
def test_a_block_runs_and_prints_what_is_shown(block: Block, readers: dict[Path, Reader]) -> None:
    readers[block.page].run(block)


def test_the_readme_shows_how_to_encode_with_the_reply_and_how_to_decode_that_very_code() -> None:
    commands = [block for block in COMMANDS if block.page == README]
    (code,) = {
        code
        for block in commands
        if block.output and "/encode" in block.content
        for code in re.findall(r'"codes": ?\["(\w+)"\]', block.output.content)
    }
    assert any(f'"{code}"' in block.content for block in commands if "/decode" in block.content)


def test_the_python_of_the_readme_gives_the_shapes_that_it_says(readers: dict[Path, Reader]) -> None:
    (block,) = [block for block in COMMANDS if block.page == README and block.language == "python"]
    readers[README].run(block)
    said = re.findall(r"^ +(\w+) = .*# .*?\[([\d, ]+)\]$", block.content, re.MULTILINE)
    assert said
    for name, shape in said:
        assert list(readers[README].value(name).shape) == [int(size) for size in shape.split(",")], name


def curls() -> list[Block]:
    return [block for block in COMMANDS if block.page == README and "curl " in block.content]


@pytest.mark.parametrize("block", curls(), ids=str)
def test_a_curl_of_the_readme_fails_when_the_service_refuses(block: Block) -> None:
    # Without it curl exits with 0 whatever came, and a test would see nothing.
    assert block.content.count("curl ") == block.content.count("--fail-with-body")


def test_a_command_that_the_service_refuses_fails(shipped_service: ServiceProcess, tmp_path: Path) -> None:
    # The oracle of the tests above: what they look at does tell right from wrong.
    page = tmp_path / "page.md"
    page.write_text(f"```bash\n{curls()[0].content.replace('/encode', '/encodes')}```\n")
    with (
        Reader(commands_of(page), folder_in(tmp_path), port=shipped_service.port) as reader,
        pytest.raises(AssertionError),
    ):
        reader.run(reader.commands[0])


# What holds of every page, wherever it is read.

EVERY_PAGE = [*PAGES, *READ_ELSEWHERE, ROOT / "benchmarks" / "README.md"]


def test_every_command_of_a_page_that_is_read_runs_or_says_why_not() -> None:
    reasons = [block.reason_not_to_run for page in [*PAGES, *READ_ELSEWHERE] for block in blocks_of(page)]
    assert all(reason is None or len(reason.split()) > 2 for reason in reasons)
    assert len(COMMANDS) > 5


@pytest.mark.parametrize("page", [*PAGES, *READ_ELSEWHERE], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_that_is_read_has_no_command_that_is_not_marked_as_one(page: Path) -> None:
    for block in blocks_of(page):
        known = {*RUN_LANGUAGES, *OUTPUT_LANGUAGES, "toml", "yaml"}
        is_directive = block.language.startswith("{")
        assert is_directive or block.language in known, f"{block}: expected a block of {', '.join(sorted(known))}"
    indented = re.findall(
        r"^    (?:\$ |python |make |curl |docker |pip |latent-codes ).*$", page.read_text(), re.MULTILINE
    )
    assert indented == [], "expected a block of bash"


def test_every_target_of_make_that_a_page_names_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in EVERY_PAGE:
        text = page.read_text(encoding="utf-8")
        code = [block.content for block in blocks_of(page)] + re.findall(r"`([^`\n]+)`", text)
        named = {target for part in code for target in re.findall(r"^make ([a-z][a-z-]*)", part, re.MULTILINE)}
        assert named <= targets, page


# The reader itself.


def folder_in(parent: Path) -> Path:
    folder = parent / "clone"
    folder.mkdir()
    return folder


def read(text: str, tmp_path: Path) -> list[str]:
    """What the blocks of a page print."""
    page = tmp_path / "page.md"
    page.write_text(text)
    with Reader(commands_of(page), folder_in(tmp_path), port=1) as reader:
        return [reader.run(block) for block in reader.commands]


def test_blocks_share_a_folder_and_the_names_of_python(tmp_path: Path) -> None:
    text = (
        "```bash\necho 3 > number\n```\n"
        "```python\nfrom pathlib import Path\nnumber = int(Path('number').read_text())\n```\n"
        "```python\nprint(number + 1)\n```\n```text\n4\n```\n"
    )
    assert read(text, tmp_path) == ["", "", "4\n"]


def test_a_block_runs_those_before_it_first_and_none_twice(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\necho once >> log\n```\n```bash\ncat log\n```\n```text\nonce\n```\n")
    with Reader(commands_of(page), folder_in(tmp_path), port=1) as reader:
        reader.run(reader.commands[1])
        assert reader.run(reader.commands[1]) == "once\n"


def test_a_command_that_fails_fails_the_test_wherever_it_stands_in_the_block(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"line 1 ended with 1"):
        read("```bash\nfalse\necho on\n```\n", tmp_path)


def test_a_block_that_is_not_run_is_passed_over_for_the_reason_given(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: it never ends -->\n```bash\nsleep inf\n```\n")
    assert blocks_of(page)[0].reason_not_to_run == "it never ends"
    assert read(page.read_text(), tmp_path) == []


def shown_as(text: str, tmp_path: Path, language: str = "text", comment: str = "") -> Block:
    page = tmp_path / "page.md"
    page.write_text(f"```bash\ntrue\n```\n\n{comment}\n```{language}\n{text}\n```\n")
    (block,) = blocks_of(page)
    assert block.output is not None
    return block.output


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("loss 1.5", "loss   1.5\n"),
        ("first\n...\nlast", "first\nanything\nat all\nlast\n"),
        ("took ... s", "took 3.2 s"),
    ],
    ids=["spaces", "lines left out", "a value left out"],
)
def test_output_is_as_shown_but_for_spaces_and_what_is_left_out(shown: str, printed: str, tmp_path: Path) -> None:
    assert_shown(shown_as(shown, tmp_path), printed)
    with pytest.raises(AssertionError):
        assert_shown(shown_as(shown, tmp_path), printed.replace("t", "x", 1).replace("l", "x"))


def test_numbers_may_be_off_by_what_the_page_says_and_not_by_more(tmp_path: Path) -> None:
    shown = shown_as("loss 100.0 of 3 runs", tmp_path, comment="<!-- numbers within 20 % -->")
    assert_shown(shown, "loss 119 of 3 runs")
    with pytest.raises(AssertionError, match=r"100\.0"):
        assert_shown(shown, "loss 140 of 3 runs")
    with pytest.raises(AssertionError):
        assert_shown(shown_as("loss 100.0 of 3 runs", tmp_path), "loss 100.1 of 3 runs")


def test_json_is_as_shown_but_for_what_is_left_out_and_the_last_places_of_numbers(tmp_path: Path) -> None:
    shown = shown_as('{"a": [1, "..."], "b": 0.5, "c": "..."}', tmp_path, "json")
    assert_shown(shown, '{"a": [1, 2, 3], "b": 0.50004, "c": null}')
    with pytest.raises(AssertionError):
        assert_shown(shown, '{"a": [2, 2, 3], "b": 0.5, "c": null}')
    with pytest.raises(AssertionError):
        assert_shown(shown, '{"a": [1], "b": 0.501, "c": null}')
    some = shown_as('{"a": 1, "...": "..."}', tmp_path, "json")
    assert_shown(some, '{"a": 1, "b": 2}')
    with pytest.raises(AssertionError):
        assert_shown(some, '{"b": 2}')
