"""The command line as a whole: what it says of itself, its exit statuses, the commands that become other processes."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest
from command_line import ROOT, command, environment, latent_codes, latent_codes_process
from ports import ReservedPort

from service.cli.exit_codes import MEANINGS, ExitCode
from service.cli.program import COMMANDS, program
from service.cli.training import PASSED_TO

DOCUMENT = ROOT / "docs" / "cli.md"
OWN = [name for name in COMMANDS if name not in PASSED_TO]


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has loaded after the statement."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    finished = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True, timeout=240
    )
    return set(finished.stdout.splitlines()[-1].split())


def test_help_names_every_command_and_has_examples() -> None:
    finished = latent_codes("--help")
    assert finished.status == 0
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.summary.split()[0])}", finished.out.decode(), re.MULTILINE)
    assert re.search(r"Examples:\n +latent-codes encode", finished.out.decode())


@pytest.mark.parametrize("name", OWN)
def test_every_command_has_help_with_examples_that_are_no_longer_than_a_line(name: str) -> None:
    finished = latent_codes(name, "--help")
    assert finished.status == 0
    assert f"Usage: latent-codes {name}" in finished.out.decode()
    examples = finished.out.decode().partition("Examples:\n")[2].splitlines()
    assert any(f"latent-codes {name}" in line for line in examples)


def test_help_loads_neither_a_runtime_nor_a_client() -> None:
    loaded = loaded_by("import service.cli.program; service.cli.program.main(['--help'])")
    assert "click" in loaded
    assert not loaded & {
        "onnxruntime",
        "fastapi",
        "starlette",
        "httpx",
        "latent_codes_client",
        "pyarrow",
        "torch",
        "PIL",
    }


def test_work_done_here_loads_no_client_and_no_web_framework() -> None:
    loaded = loaded_by(
        f"import service.cli.program, os; os.chdir({str(ROOT)!r})\n"
        "service.cli.program.main(['encode', 'samples/seven.png', '-m', 'mnist-binary'])"
    )
    assert "onnxruntime" in loaded
    assert not loaded & {"fastapi", "starlette", "uvicorn", "httpx", "latent_codes_client", "torch", "training"}


def test_the_version_is_that_of_the_distribution() -> None:
    assert re.fullmatch(r"latent-codes, version \d+\.\d+\.\d+\n", latent_codes("--version").out.decode())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_that_completes_in_every_common_shell(shell: str) -> None:
    finished = latent_codes("completion", shell)
    assert (finished.status, finished.told) == (0, "")
    assert "_LATENT_CODES_COMPLETE" in finished.out.decode()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("latent-codes en", {"encode"}),
        ("latent-codes gradient", {"gradient-report"}),
        ("latent-codes encode --out", {"--output"}),
    ],
)
def test_commands_and_options_are_completed(words: str, expected: set[str]) -> None:
    finished = latent_codes_process(
        _LATENT_CODES_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1)
    )
    assert {line.partition(",")[2] for line in finished.lines} == expected


def test_names_of_models_are_completed(tiny_repository: Path) -> None:
    words = f"latent-codes encode --repository {tiny_repository} --model tiny-b"
    finished = latent_codes_process(_LATENT_CODES_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="5")
    assert finished.lines == ["plain,tiny-binary"]


def test_every_exit_status_has_its_meaning_in_the_document() -> None:
    assert set(MEANINGS) == set(ExitCode)
    text = DOCUMENT.read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in text


@pytest.mark.parametrize("name", OWN)
def test_the_document_names_every_option_of_a_command(name: str) -> None:
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (section,) = [section for section in sections if section.startswith(f"`latent-codes {name}`")]
    command = program.get_command(click.Context(program), name)
    assert command is not None
    shared = next(section for section in sections if section.startswith("Where the work is done"))
    for option in command.params:
        for spelling in option.opts:
            if isinstance(option, click.Option):
                assert f"`{spelling}`" in section + shared, spelling


def test_the_document_names_every_command() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"`latent-codes {name}`" in text or f"| `{name}` |" in text, name


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Path]:
    """A folder with a package `training` that says what it was asked, and a `torch` that is not one."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    (tmp_path / "training" / "__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)")
    (tmp_path / "torch.py").touch()
    return tmp_path


@pytest.mark.parametrize("name", PASSED_TO)
def test_training_is_told_everything_and_its_exit_status_is_ours(stand_in: Path, name: str) -> None:
    path = f"{stand_in}:{ROOT}"
    finished = latent_codes_process(name, "runs/x", "--set", "a=b", "--help", "-m", "5", PYTHONPATH=path, cwd=stand_in)
    assert finished.lines == [repr([PASSED_TO[name], "runs/x", "--set", "a=b", "--help", "-m", "5"])]
    assert finished.status == 7


def test_training_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    # A finder that finds no torch, as where it was never installed.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError(name)\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'torch' else found(name, package)\n"
    )
    finished = latent_codes_process("train", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert finished.status == 5
    assert finished.told == (
        "latent-codes: train needs the package torch: install the project with its extra train, "
        "pip install 'latent-codes[train,cpu]'\n"
    )


def test_every_command_that_is_passed_on_is_one_that_training_has() -> None:
    # Its text, since importing it takes half a minute on a busy machine and needs torch.
    text = (ROOT / "training" / "__main__.py").read_text(encoding="utf-8")
    for name in PASSED_TO.values():
        assert re.search(rf'add_parser\(\s*"{name}"', text), name


def test_serve_is_the_service_with_the_settings_that_its_options_mean(tiny_repository: Path) -> None:
    reserved = ReservedPort()
    port = reserved.number
    process = subprocess.Popen(
        command("serve", "--port", port, "--repository", tiny_repository, "--device", "cpu"),
        env=environment(LATENT_CODES_API_KEY="mine", LATENT_CODES_URL="http://elsewhere", LATENT_CODES_PORT="1"),
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=10), timeout=30
        ) as client:
            names = [model["name"] for model in client.get("/v1/models").json()["models"]]
        assert names == ["tiny-binary", "tiny-categorical"]
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        reserved.close()


def test_a_start_that_is_refused_ends_with_the_status_of_the_service(tmp_path: Path) -> None:
    with ReservedPort() as port:
        finished = latent_codes_process("serve", "--repository", tmp_path / "nothing", "--port", port.number)
    assert finished.status == 1
    assert "is not a folder" in finished.told
