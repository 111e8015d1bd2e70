"""Settings: what the environment may say, and that the documents say the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from service_process import environment

from service.errors import SettingsRefused
from service.settings import PREFIX, Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def documented() -> dict[str, tuple[str, str]]:
    """Default and description of each variable in the table of docs/settings.md."""
    rows = re.findall(r"^\| `(LATENT_CODES_\w+)` \| `(.*?)` \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    return {name: (default, description) for name, default, description in rows}


def test_every_setting_is_documented_with_its_default_and_its_sentence() -> None:
    expected = {}
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, tuple):
            default = ":".join(map(str, default))
        text = str(default).lower() if isinstance(default, bool) else str(default)
        expected[PREFIX + name.upper()] = (text, field.description)
    assert documented() == expected


def test_without_variables_the_documented_defaults_apply() -> None:
    settings = Settings.from_environment()
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "auto")
    assert settings.model_repositories == (Path("model_repository"), Path("models/shipped"))


@pytest.mark.parametrize("text", ["a:b/c", "a::b/c", '["a", "b/c"]'])
def test_repositories_are_listed_with_colons_or_as_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LATENT_CODES_MODEL_REPOSITORIES", text)
    assert Settings.from_environment().model_repositories == (Path("a"), Path("b/c"))


def test_an_unknown_variable_is_refused_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_CODES_MAX_BODY_BITES", "1")
    with pytest.raises(SettingsRefused, match="BITES is not a setting; the nearest is LATENT_CODES_MAX_BODY_BYTES"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("DEVICE", "tpu"),
        ("MAX_ROWS", "0"),
        ("MAX_BODY_BYTES", "-1"),
        ("MAX_INLINE_MS", "nan"),
        ("MODEL_REPOSITORIES", ""),
        ("MODEL_REPOSITORIES", '["a"'),
        ("LOG_LEVEL", "loud"),
        ("HOST", ""),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsRefused, match=f"^{PREFIX}{name}="):
        Settings.from_environment()


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"prot": "1"}, "LATENT_CODES_PROT is not a setting; the nearest is LATENT_CODES_PORT"),
        ({"port": "many"}, "LATENT_CODES_PORT='many'"),
        ({"model_repositories": "/nowhere/at/all"}, "the model repository /nowhere/at/all is not a folder"),
    ],
    ids=["unknown-variable", "value-that-does-not-fit", "missing-repository"],
)
def test_a_process_that_must_not_start_says_why_in_one_line(given: dict[str, str], sentence: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment([Path("tests")]) | {PREFIX + name.upper(): value for name, value in given.items()},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"Latent Codes does not start: {sentence}")
    assert finished.stderr.count("\n") == 1
