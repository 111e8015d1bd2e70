"""`models/manifest.py`: what is written reads back, and what contradicts itself is refused by the name of its field."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.errors import ManifestError
from models.manifest import (
    CodeUsage,
    GraphFile,
    ImageSpec,
    InputSpec,
    Manifest,
    Metric,
    RelaxationSpec,
    Tensor,
    TrainingRecord,
)

MakeManifest = Callable[..., Manifest]


@pytest.fixture(params=["binary", "categorical"])
def manifest(request: pytest.FixtureRequest, make_manifest: MakeManifest) -> Manifest:
    if request.param == "binary":
        return make_manifest()
    return make_manifest("categorical", num_latents=3, num_categories=300)


def altered(manifest: Manifest, path: str, value: Any) -> bytes:
    """The manifest's JSON with the field at `path` (keys joined by dots) set to `value`."""
    document = json.loads(manifest.to_json())
    *parents, last = path.split(".")
    place = document
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = value
    return json.dumps(document).encode()


def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


def test_a_training_record_reads_back_as_it_was_written_whatever_python_called_it(
    make_manifest: MakeManifest, tmp_path: Any
) -> None:
    record = TrainingRecord(
        data={"folder": tmp_path}, config={"widths": (8, 4)}, num_steps=0, duration_seconds=0, device="cpu"
    )
    manifest = make_manifest(training=record)
    assert manifest.training.config == {"widths": [8, 4]}
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_derived_shapes_follow_the_kind(make_manifest: MakeManifest) -> None:
    binary, categorical = make_manifest(), make_manifest("categorical", num_latents=3, num_categories=300)
    assert (binary.latent_shape, binary.code_bits, binary.layout.dtype) == ((5,), 5, np.uint8)
    assert (categorical.latent_shape, categorical.code_bits, categorical.layout.dtype) == ((3, 300), 27, np.uint16)
    assert binary.input.size == 6


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema_version", 2, "schema_version: Input should be 1, got 2"),
        ("name", "../other", "name: .*got '../other'"),
        ("name", "Upper", "name: "),
        ("name", "tiny\n", "name: "),
        ("name", "a" * 65, "name: "),
        ("name", "-a", "name: "),
        ("version", 0, "version: .*greater than or equal to 1, got 0"),
        ("version", "1", "version: .*valid integer, got '1'"),
        ("version", True, "version: .*valid integer, got True"),
        ("kind", "gaussian", "kind: .*got 'gaussian'"),
        (
            "kind",
            "categorical",
            "relaxation.name: expected one of concrete for a categorical model, got binary_concrete",
        ),
        ("num_latents", 0, "num_latents: "),
        ("num_latents", 6, r"golden.logits: expected float32 of shape \(2, 6\), got float32 \(2, 5\)"),
        ("num_categories", 65537, "num_categories: .*got 65537"),
        ("num_categories", 3, "num_categories: expected 2 for a binary model, got 3"),
        ("input.shape", [], "input.shape: "),
        ("input.shape", [2, 0], "input.shape.1: .*got 0"),
        ("input.dtype", "float64", "input.dtype: "),
        ("input.minimum", 1.0, "input: expected minimum < maximum, got 1.0 and 1.0"),
        ("input.maximum", float("inf"), "input.maximum: .*finite number"),
        ("input.image.height", 3, r"input: image: expected an image of shape \(2, 3\), got \(3, 3\)"),
        ("input.image.mode", "CMYK", "input.image.mode: "),
        ("likelihood", "poisson", "likelihood: "),
        ("relaxation.noise", "gumbel", "relaxation.noise: expected logistic for binary_concrete, got gumbel"),
        ("relaxation_temperature", 0, "relaxation_temperature: .*greater than 0, got 0"),
        ("relaxation_temperature", float("nan"), "relaxation_temperature: .*finite number"),
        ("prior.name", "learned", "prior: .*'learned'.*'uniform', 'factorised', 'autoregressive'"),
        ("metrics.0.value", float("nan"), "metrics.0.value: .*finite number"),
        ("metrics.0.num_examples", 0, "metrics.0.num_examples: "),
        ("training.config", {"clip": float("inf")}, "training.config: expected values that JSON can hold"),
        ("created", "2026-11-23T18:30:00", "created: .*timezone"),
        ("graphs.encoder.sha256", "0" * 63, "graphs.encoder.sha256: "),
        ("graphs.encoder.size_bytes", 0, "graphs.encoder.size_bytes: "),
        ("graphs.encoder.size_bytes", 1 << 40, "graphs.encoder.size_bytes: "),
        ("graphs.encoder.file", "sampler.onnx", "graphs: expected a file of its own for each, got sampler.onnx"),
        ("graphs.other", {"file": "a", "sha256": "0" * 64, "size_bytes": 1}, "graphs.other"),
        ("golden.seed", -1, "golden.seed: "),
        ("golden.temperature", 0, "golden.temperature: "),
        ("golden.inputs.dtype", "float64", "golden.inputs.dtype: "),
        ("golden.inputs.data", "AAAA", "golden.inputs: data: expected 48 bytes for float32 .*, got 3"),
        ("golden.inputs.data", "%%%", "golden.inputs: "),
        ("golden.inputs.shape", [10**30], "golden.inputs: data: expected "),
        (
            "golden.inputs",
            {"dtype": "float32", "shape": [0, 6], "data": ""},
            "golden.inputs: expected at least one row",
        ),
        ("golden.inputs", {"dtype": "float32", "shape": [], "data": "AAAAAA=="}, "golden.inputs: .*at least one row"),
        ("usage", {"split": "valid"}, "usage.num_examples: Field required"),
        (
            "usage",
            {"split": "valid", "num_examples": 3, "shares": {"dtype": "float32", "shape": [1], "data": "AAAAAA=="}},
            r"usage.shares: expected float32 of shape \(5,\), got float32 \(1,\)",
        ),
        ("surprise", 1, "surprise: Extra inputs are not permitted, got 1"),
        ("input.image.hieght", 1, "input.image.hieght: Extra inputs are not permitted"),
        ("golden.codes.comment", "", "golden.codes.comment: Extra"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(make_manifest: MakeManifest, path: str, value: Any, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(altered(make_manifest(), path, value))


@pytest.mark.parametrize(
    "file",
    [
        "",
        ".",
        "..",
        ".hidden",
        "/etc/passwd",
        "../encoder.onnx",
        "a/b.onnx",
        "a\\b.onnx",
        "C:x",
        "a\0b",
        "é",
        "a" * 101,
    ],
)
def test_a_graph_outside_its_folder_is_refused(make_manifest: MakeManifest, file: str) -> None:
    with pytest.raises(ManifestError, match=r"graphs\.encoder\.file: "):
        Manifest.from_json(altered(make_manifest(), "graphs.encoder.file", file))


def test_a_graph_with_the_name_of_the_manifest_is_refused(make_manifest: MakeManifest) -> None:
    with pytest.raises(ManifestError, match="expected another name than that of the manifest"):
        Manifest.from_json(altered(make_manifest(), "graphs.encoder.file", "manifest.json"))


@pytest.mark.parametrize("role", ["encoder", "sampler", "decoder"])
def test_every_graph_must_be_there(make_manifest: MakeManifest, role: str) -> None:
    document = json.loads(make_manifest().to_json())
    del document["graphs"][role]
    with pytest.raises(ManifestError, match="graphs: expected exactly encoder, sampler, decoder, got "):
        Manifest.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("field", sorted(set(Manifest.model_fields) - {"schema_version", "description", "usage"}))
def test_every_field_without_a_default_must_be_there(make_manifest: MakeManifest, field: str) -> None:
    document = json.loads(make_manifest().to_json())
    del document[field]
    with pytest.raises(ManifestError, match=f"^{field}: Field required$"):
        Manifest.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'"' + b"x" * 10_000 + b'"'])
def test_text_that_is_no_manifest_is_refused_in_a_short_sentence(text: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^manifest: ") as refusal:
        Manifest.from_json(text)
    assert len(str(refusal.value)) < 300


def test_many_wrong_fields_are_named_together_and_not_without_end(make_manifest: MakeManifest) -> None:
    document = json.loads(make_manifest().to_json()) | {f"extra{number}": number for number in range(1000)}
    with pytest.raises(ManifestError) as refusal:
        Manifest.from_json(json.dumps(document).encode())
    assert str(refusal.value).count("Extra inputs are not permitted") == 10


@pytest.mark.parametrize("field", ["codes", "sampled_codes"])
def test_golden_codes_that_the_model_cannot_produce_are_refused(make_manifest: MakeManifest, field: str) -> None:
    codes = Tensor.of(np.full((2, 5), 2, np.uint8)).model_dump()
    with pytest.raises(ManifestError, match=rf"golden\.{field}: expected values in 0\.\.1, got 2 at position \[0, 0\]"):
        Manifest.from_json(altered(make_manifest(), f"golden.{field}", codes))


@pytest.mark.parametrize("field", ["inputs", "logits", "codes", "sampled_codes", "outputs"])
def test_golden_tensors_of_another_dtype_are_refused(make_manifest: MakeManifest, field: str) -> None:
    manifest = make_manifest()
    tensor: Tensor = getattr(manifest.golden, field)
    other = "uint16" if tensor.dtype == "float32" else "float32"
    changed = Tensor.of(np.zeros(tensor.shape, other)).model_dump()
    with pytest.raises(ManifestError, match=rf"golden\.{field}: expected {tensor.dtype} .*, got {other}"):
        Manifest.from_json(altered(manifest, f"golden.{field}", changed))


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -0.0], [1e-40, 3e38]], np.float32),
        np.array([0, 255], np.uint8),
        np.array([[0, 1, 65535]], np.uint16),
        np.array([1, 258], ">u2"),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(10, dtype=np.uint8)[::3],
        np.float32(2.5) * np.ones((), np.float32),
        np.zeros((0, 3), np.uint16),
    ],
    ids=["float32", "uint8", "uint16", "big-endian", "fortran order", "strided", "no axes", "no rows"],
)
def test_a_tensor_reads_back_bit_by_bit(array: np.ndarray) -> None:
    back = Tensor.model_validate_json(Tensor.of(np.asarray(array)).model_dump_json()).array()
    assert back.dtype == np.asarray(array).dtype.newbyteorder("=")
    assert back.shape == np.shape(array)
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.signbit(back), np.signbit(array))


def test_a_tensor_is_little_endian_and_row_major() -> None:
    assert Tensor.of(np.array([[1, 2], [3, 258]], ">u2")).data == "AQACAAMAAgE="


@pytest.mark.parametrize(
    "array",
    [np.zeros(2), np.zeros(2, bool), np.array([np.nan], np.float32), np.array([-np.inf], np.float32)],
    ids=["float64", "bool", "NaN", "infinity"],
)
def test_a_tensor_that_no_reader_could_use_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ValidationError):
        Tensor.of(array)


def test_colour_images_have_an_axis_of_three() -> None:
    image = ImageSpec(mode="RGB", height=2, width=3)
    assert InputSpec(shape=(2, 3, 3), minimum=0, maximum=1, image=image).size == 18
    with pytest.raises(ValidationError, match=r"expected an image of shape \(2, 3\), got \(2, 3, 3\)"):
        InputSpec(shape=(2, 3), minimum=0, maximum=1, image=image)


def test_a_graph_file_holds_the_hash_of_its_content() -> None:
    # Secure Hash Standard, the example "abc".
    graph = GraphFile.of("a.onnx", b"abc")
    assert graph.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert graph.size_bytes == 3


def test_a_manifest_cannot_be_changed_by_accident(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    with pytest.raises(ValidationError, match="frozen"):
        manifest.version = 2  # type: ignore[misc]


def test_naive_creation_times_are_refused(make_manifest: MakeManifest) -> None:
    with pytest.raises(ValidationError, match="created"):
        make_manifest(created=datetime(2026, 11, 23))


def test_a_relaxation_of_the_other_kind_is_refused(make_manifest: MakeManifest) -> None:
    with pytest.raises(ValidationError, match="expected one of concrete for a categorical model, got binary_concrete"):
        make_manifest("categorical", relaxation=RelaxationSpec(name="binary_concrete", noise="logistic"))


def test_a_metric_needs_its_split_and_protocol() -> None:
    with pytest.raises(ValidationError, match="split"):
        Metric(name="negative_elbo", value=1.0, num_examples=1, protocol="one code a row")  # type: ignore[call-arg]


def test_usage_is_counted_from_codes_and_reads_back(manifest: Manifest) -> None:
    codes = np.random.default_rng(0).integers(manifest.num_categories, size=(50, manifest.num_latents))
    usage = CodeUsage.of(codes, manifest.layout, manifest.kind, split="valid")
    assert usage.shares.shape == manifest.latent_shape
    shares = usage.by_symbol(manifest.kind)
    expected = [np.bincount(column, minlength=manifest.num_categories) / 50 for column in codes.T]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    used = Manifest(**{**dict(manifest), "usage": usage})
    assert Manifest.from_json(used.to_json()) == used


@pytest.mark.parametrize("shares", [[1.5, 0, 0, 0, 0], [-0.1, 0, 0, 0, 0]])
def test_shares_of_bits_that_are_none_are_refused(make_manifest: MakeManifest, shares: list[float]) -> None:
    usage = CodeUsage(split="valid", num_examples=3, shares=Tensor.of(np.array(shares, np.float32)))
    with pytest.raises(ValidationError, match=r"usage.shares: expected shares from 0 to 1"):
        make_manifest(usage=usage)


def test_shares_of_categories_that_do_not_sum_to_1_are_refused(make_manifest: MakeManifest) -> None:
    shares = Tensor.of(np.full((3, 300), 0.5, np.float32))
    with pytest.raises(
        ValidationError, match=r"usage.shares: expected the shares of each latent's symbols to sum to 1"
    ):
        make_manifest(
            "categorical",
            num_latents=3,
            num_categories=300,
            usage=CodeUsage(split="valid", num_examples=3, shares=shares),
        )


def test_a_manifest_without_usage_reads_as_one_that_says_nothing_of_it(make_manifest: MakeManifest) -> None:
    document = json.loads(make_manifest().to_json())
    del document["usage"]
    assert Manifest.from_json(json.dumps(document).encode()).usage is None
