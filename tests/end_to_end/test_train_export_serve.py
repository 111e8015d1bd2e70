"""From data to a service: `fit`, `evaluate`, `export`, `python -m service`, and the client, all as users run them.

A folder of colour images goes all the way by processes; the digits are trained in this one, which saves half a minute.
What the service answers is compared with PyTorch on the same noise; the formulas are written out once more here.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_codes_client import LatentCodesClient
from PIL import Image
from service_process import ServiceProcess

from models import noise
from models.repository import Repository
from training import runs
from training.__main__ import main
from training.config import to_toml

SHIPPED = Path(__file__).parents[2] / "models" / "shipped"
COMMAND_SECONDS = 240
# A code may differ from PyTorch's where the two best scores are closer than this; everything else may be off by it.
TOLERANCE = 1e-4
TEMPERATURE, SEED, NUM_SAMPLES = 0.7, 2026, 3

NUM_STEPS = 300
NAMES = ["digits-bits", "digits-symbols", "colour-bits"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Trained:
    """A model of the repository and the PyTorch model it was exported from, on rows of its test split."""

    name: str
    run: runs.TrainedRun

    @property
    def inputs(self) -> torch.Tensor:
        return torch.from_numpy(self.run.dataset.evaluation_inputs("test")[:40])

    @torch.no_grad()
    def logits(self) -> np.ndarray:
        return self.run.model.posterior(self.inputs).logits.double().numpy()

    @torch.no_grad()
    def decoded(self, codes: np.ndarray) -> np.ndarray:
        flat = self.run.model.reconstruction(self.run.model.latent.from_indices(torch.from_numpy(codes)))
        return flat.numpy().reshape(len(codes), *self.run.dataset.input.shape)

    def standard_noise(self, num_rows: int, sample: int = 0, purpose: noise.Purpose = "posterior") -> np.ndarray:
        latent = self.run.model.latent
        # The law under test: Logistic for bits, Gumbel for categories.
        law: noise.NoiseName = "logistic" if latent.kind == "binary" else "gumbel"
        return noise.draw(law, SEED, num_rows, latent.shape, sample=sample, purpose=purpose).astype(np.float64)


def codes_of(scores: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The most probable codes of scores, and how far each is from being another."""
    if kind == "binary":
        return (scores > 0).astype(np.int64), np.abs(scores)
    ranked = np.sort(scores, axis=-1)
    return scores.argmax(axis=-1), ranked[..., -1] - ranked[..., -2]


def relaxed_of(scores: np.ndarray, relaxation_temperature: float, kind: str) -> np.ndarray:
    scaled = scores / relaxation_temperature
    if kind == "binary":
        return 1 / (1 + np.exp(-scaled))
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def assert_same_codes(codes: np.ndarray, scores: np.ndarray, kind: str) -> None:
    expected, margins = codes_of(scores, kind)
    firm = margins >= TOLERANCE
    assert firm.mean() > 0.99  # or nothing would be compared
    assert codes.shape == expected.shape
    np.testing.assert_array_equal(codes[firm], expected[firm])


def draw_colour_images(folder: Path) -> None:
    """120 pictures of 10 x 12 pixels, filled circles and squares of three colours, in a folder for each shape."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:10, :12]
    for number in range(120):
        shape = ("circle", "square")[number % 2]
        centre_row, centre_column = random.uniform(3, 7), random.uniform(3, 9)
        distances = np.abs(rows - centre_row), np.abs(columns - centre_column)
        inside = np.hypot(*distances) < 3 if shape == "circle" else np.maximum(*distances) < 2.5
        pixels = np.full((10, 12, 3), 20, np.uint8)
        pixels[inside] = [(230, 30, 30), (30, 230, 30), (40, 60, 240)][random.integers(3)]
        (folder / shape).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / shape / f"{number:03}.png")


def overrides(name: str, root: Path) -> list[str]:
    """What to train: a model that learns something within a second or two."""
    common = [f"name={name}", f"training.num_steps={NUM_STEPS}", "training.evaluate_every=1000"]
    common += ["optimizer.learning_rate=1e-2", "relaxation_temperature.rate=5e-3"]
    if name == "digits-bits":
        return [*common, "latent.num_latents=12", "network.hidden=[48]"]
    if name == "digits-symbols":
        symbols = ["latent.kind=categorical", "latent.num_latents=5", "latent.num_categories=6"]
        return [*common, *symbols, "network.hidden=[48]"]
    colour = ["data.name=folder", f"data.path={root / 'pictures'}", "training.batch_size=32"]
    # So few pictures and steps that the whole rate would be too dear: no latent would stay in use.
    colour += ["objective.beta=0.02"]
    return [*common, *colour, "latent.num_latents=10", "network.kind=conv", "network.channels=[6, 8]"]


def in_a_process(*arguments: object) -> str:
    """What `python -m training` prints when it succeeds."""
    process = subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    return process.stdout


def here(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def train_on(run: Path, num_steps: int) -> None:
    """Give a finished run more steps."""
    config = runs.read_config(run)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, num_steps=num_steps))
    (run / "config.toml").write_text(to_toml(config))
    here("fit", "--resume", "--run", run, "--device", "cpu")


@dataclass(frozen=True)
class World:
    """Everything trained and exported, with what the commands printed."""

    repository: Path
    models: dict[str, Trained]
    first_version: Trained
    fitted: str
    evaluated: str
    exported: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("end-to-end")
    draw_colour_images(root / "pictures")
    cpu = torch.device("cpu")
    repository = root / "models"
    quick = ["--device", "cpu", "--num-samples", 2, "-m", 5]

    def fit_options(name: str) -> list[object]:
        sets = [part for override in overrides(name, root) for part in ("--set", override)]
        return ["--device", "cpu", "--run", root / name, *sets]

    fitted = in_a_process("fit", *fit_options("colour-bits"))
    evaluated = in_a_process("evaluate", root / "colour-bits", *quick)
    exported = in_a_process("export", root / "colour-bits", "--repository", repository)
    for name in ("digits-bits", "digits-symbols"):
        here("fit", *fit_options(name))
        here("evaluate", root / name, *quick)
        here("export", root / name, "--repository", repository)
    first_version = Trained("digits-bits", runs.open_run(root / "digits-bits", device=cpu))
    train_on(root / "digits-bits", 2 * NUM_STEPS)
    here("evaluate", root / "digits-bits", *quick)
    here("export", root / "digits-bits", "--repository", repository)
    models = {name: Trained(name, runs.open_run(root / name, device=cpu)) for name in NAMES}
    return World(repository, models, first_version, fitted, evaluated, exported)


@pytest.fixture(scope="module")
def client(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LatentCodesClient]:
    repositories = [SHIPPED, world.repository] if SHIPPED.is_dir() else [world.repository]
    log = tmp_path_factory.mktemp("service") / "log"
    with ServiceProcess(repositories, log=log) as service, LatentCodesClient(service.url) as client:
        yield client


@pytest.fixture(params=NAMES)
def trained(request: pytest.FixtureRequest, world: World) -> Trained:
    return world.models[request.param]


def kind_of(trained: Trained) -> str:
    return trained.run.model.latent.kind


def test_evaluate_prints_what_was_measured_on_and_how_beside_each_number(world: World) -> None:
    data, _, *rows = world.evaluated.splitlines()
    assert "folder pictures test, 12 images" in data
    assert "one Bernoulli binarisation with seed" in data
    lines = {line.split()[0]: line for line in rows}
    assert {"negative_elbo", "iwae_5", "rate_bits", "bits_used_per_code", "active_latents"} <= lines.keys()
    assert "2 discrete samples a row" in lines["negative_elbo"]
    assert "m = 5 discrete samples a row" in lines["iwae_5"]


def test_fit_prints_what_to_do_next(world: World) -> None:
    run = world.repository.parent / "colour-bits"
    assert world.fitted.splitlines() == [
        f"trained: {run}",
        f"next: python -m training evaluate {run}",
        f"      python -m training export {run}",
    ]


def test_export_prints_where_the_model_is(world: World) -> None:
    assert world.exported == f"exported: {world.repository / 'colour-bits' / '1'}\n"


def test_new_models_are_served_beside_the_shipped_ones(world: World, client: LatentCodesClient) -> None:
    shipped = Repository(SHIPPED).names()
    served = {model.name: model for model in client.models()}
    assert sorted(served) == sorted([*shipped, *NAMES])
    assert client.is_ready()
    for name in shipped:
        rows = np.zeros((2, *served[name].input_shape), np.float32)
        assert client.encode(name, rows).codes.shape == (2, served[name].num_latents)


def test_the_highest_version_is_served_and_the_one_before_can_be_asked_for(
    world: World, client: LatentCodesClient
) -> None:
    second, first = world.models["digits-bits"], world.first_version
    assert (second.run.step, first.run.step) == (2 * NUM_STEPS, NUM_STEPS)
    assert client.model("digits-bits").versions == (1, 2)
    rows = second.inputs.numpy()
    newest, oldest = client.encode("digits-bits", rows), client.encode("digits-bits", rows, version=1)
    assert (newest.version, oldest.version) == (2, 1)
    assert_same_codes(newest.codes, second.logits(), "binary")
    assert_same_codes(oldest.codes, first.logits(), "binary")
    assert (newest.codes != oldest.codes).any()


def test_the_service_describes_the_model_as_it_was_trained(trained: Trained, client: LatentCodesClient) -> None:
    model = client.model(trained.name)
    latent = trained.run.model.latent
    assert (model.kind, model.num_latents, model.num_categories) == (
        latent.kind,
        latent.num_latents,
        latent.num_categories,
    )
    assert model.input_shape == trained.run.dataset.input.shape
    # Annealed by exp(-5e-3 step), down to 1/2.
    last_step = trained.run.step - 1
    assert model.relaxation_temperature == pytest.approx(max(0.5, np.exp(-5e-3 * last_step)))


def test_codes_at_temperature_0_are_the_most_probable_ones_of_pytorch(
    trained: Trained, client: LatentCodesClient
) -> None:
    encoding = client.encode(trained.name, trained.inputs.numpy(), outputs=["codes", "probabilities"])
    assert_same_codes(encoding.codes, trained.logits(), kind_of(trained))
    np.testing.assert_allclose(
        encoding.probabilities, relaxed_of(trained.logits(), 1.0, kind_of(trained)), atol=TOLERANCE
    )
    # An encoder that ignores its inputs would pass what is above.
    assert len(np.unique(encoding.codes, axis=0)) > 5


def test_sampled_codes_are_those_of_pytorch_with_the_same_noise(trained: Trained, client: LatentCodesClient) -> None:
    rows = trained.inputs.numpy()
    # Three hundred steps may make a model sure of every symbol: whatever they did, some are to change.
    temperature = max(TEMPERATURE, float(np.median(np.abs(trained.logits()))))
    encoding = client.encode(trained.name, rows, temperature=temperature, seed=SEED, num_samples=NUM_SAMPLES)
    assert encoding.seed == SEED
    for sample in range(NUM_SAMPLES):
        scores = trained.logits() + temperature * trained.standard_noise(len(rows), sample)
        assert_same_codes(encoding.codes[:, sample], scores, kind_of(trained))
    assert (encoding.codes[:, 0] != encoding.codes[:, 1]).any()


@pytest.mark.parametrize("relaxation_temperature", [None, 0.1, 2.0])
def test_relaxed_values_are_those_of_the_formula_and_round_to_the_codes(
    trained: Trained, client: LatentCodesClient, relaxation_temperature: float | None
) -> None:
    rows, kind = trained.inputs.numpy(), kind_of(trained)
    encoding = client.encode(
        trained.name,
        rows,
        temperature=TEMPERATURE,
        seed=SEED,
        relaxation_temperature=relaxation_temperature,
        outputs=["codes", "relaxed"],
    )
    scores = trained.logits() + TEMPERATURE * trained.standard_noise(len(rows))
    used = relaxation_temperature or client.model(trained.name).relaxation_temperature
    np.testing.assert_allclose(encoding.relaxed, relaxed_of(scores, used, kind), atol=TOLERANCE)
    # Whatever the relaxation temperature, the codes are the same.
    assert_same_codes(encoding.codes, scores, kind)


def test_codes_decode_to_what_pytorch_decodes_them_to(trained: Trained, client: LatentCodesClient) -> None:
    latent = trained.run.model.latent
    codes = np.random.default_rng(1).integers(latent.num_categories, size=(20, latent.num_latents))
    outputs = client.decode(trained.name, codes).outputs
    np.testing.assert_allclose(outputs, trained.decoded(codes), atol=TOLERANCE)
    # A decoder that ignores its codes would pass what is above.
    assert np.ptp(outputs, axis=0).max() > 0.1


def test_a_reconstruction_is_the_decoding_of_the_codes_with_its_error(
    trained: Trained, client: LatentCodesClient
) -> None:
    rows = trained.inputs.numpy()
    reconstruction = client.reconstruct(trained.name, rows)
    expected = trained.decoded(reconstruction.codes)
    np.testing.assert_allclose(reconstruction.outputs, expected, atol=TOLERANCE)
    errors = np.square(expected.reshape(len(rows), -1) - rows).mean(axis=1)
    np.testing.assert_allclose(reconstruction.mean_squared_error, errors, atol=TOLERANCE)


def test_generated_codes_are_uniform_noise_decoded(trained: Trained, client: LatentCodesClient) -> None:
    generation = client.generate(trained.name, 16, seed=SEED)
    # Under the uniform prior all logits are equal, so the noise alone decides.
    assert_same_codes(generation.codes, trained.standard_noise(16, purpose="prior"), kind_of(trained))
    np.testing.assert_allclose(generation.outputs, trained.decoded(generation.codes), atol=TOLERANCE)


def test_a_packed_code_comes_back_as_the_same_picture(trained: Trained, client: LatentCodesClient) -> None:
    rows = trained.inputs.numpy()
    packed = client.encode(trained.name, rows, code_format="hex").codes
    indices = client.encode(trained.name, rows).codes
    assert all(isinstance(code, str) for code in packed)
    np.testing.assert_array_equal(
        client.decode(trained.name, packed, code_format="hex").outputs, client.decode(trained.name, indices).outputs
    )
