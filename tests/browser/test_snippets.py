"""What the page copies runs as it stands, and does what is on the screen."""

import json
import os
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from playground_page import MODELS, Playground

from models import codes as code_layouts
from models.codes import CodeLayout

LAYOUTS = {"mnist-binary": CodeLayout(64, 2), "mnist-categorical": CodeLayout(20, 10)}
LAYOUTS |= {name: model.layout for name, model in MODELS.items()}
SUBJECTS = ("encode", "decode", "samples", "generate", "interpolate")

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def run_curl(copied: str) -> dict[str, Any]:
    """The reply, in a shell that a reader would paste it into."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(["bash", "-euc", copied], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply


def run_python(copied: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """The result that it leaves as `reply`; it prints what it is about."""
    names: dict[str, Any] = {}
    exec(compile(copied, "copied from the playground", "exec"), names)
    assert capsys.readouterr().out.strip()
    return names["reply"]


def prepared(playground: Playground, model: str) -> Playground:
    """With something in every section: a changed cell, warm samples."""
    playground.open(model)
    playground.slide("#temperature", 1.4)
    playground.slide("#relaxation", -0.5)
    playground.cell(1).click()
    playground.settle()
    return playground


@needs_curl
@pytest.mark.parametrize("model", ["mnist-binary", "mnist-categorical"])
def test_copied_curl_and_python_do_the_same(
    playground: Playground, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(playground, model)
    for subject in SUBJECTS:
        by_curl = run_curl(playground.snippet(subject, "curl"))
        by_python = run_python(playground.snippet(subject, "python"), capsys)
        assert (by_curl["model"], by_curl["version"]) == (by_python.model, by_python.version) == (model, 1)
        for name in {"codes", "outputs", "relaxed", "probabilities", "margins"} & set(by_curl):
            np.testing.assert_allclose(getattr(by_python, name), np.array(by_curl[name]), atol=1e-5, err_msg=subject)


@needs_curl
@pytest.mark.parametrize("model", ["mnist-binary", *MODELS])
def test_what_is_copied_is_what_is_on_the_screen(
    playground: Playground, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where an input is colour, dark on light, or no image at all."""
    playground.open(model)
    before = playground.code()
    for reply in (
        run_curl(playground.snippet("encode", "curl"))["codes"],
        run_python(playground.snippet("encode", "python"), capsys).codes,
    ):
        assert code_layouts.to_hex(np.array(reply, LAYOUTS[model].dtype), LAYOUTS[model]) == [before]
    relaxed = run_curl(playground.snippet("samples", "curl"))
    assert np.shape(relaxed["codes"]) == (1, 6, LAYOUTS[model].num_latents)
    assert str(relaxed["seed"]) == playground.page.input_value("#seed")


@needs_curl
def test_a_key_is_taken_from_the_environment_and_never_copied(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    playground.open()
    playground.page.evaluate("sessionStorage.setItem('latent-codes-api-key', 'open sesame')")
    playground.page.reload()
    playground.settle()
    monkeypatch.setenv("LATENT_CODES_API_KEY", "open sesame")
    for language in ("curl", "python"):
        copied = playground.snippet("decode", language)
        assert "sesame" not in copied
        assert "LATENT_CODES_API_KEY" in copied
    run_curl(playground.snippet("decode", "curl"))
    run_python(playground.snippet("decode", "python"), capsys)
