"""Broken models on disk: not served, told apart, and never in the way of the others."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TinyModel

from models.manifest import GraphFile, Role, Tensor
from models.repository import MANIFEST_FILE, Repository
from service.catalog import Catalog, Refusal
from service.errors import DeviceUnavailable, ModelUnavailable, RepositoryMissing, UnknownModel, UnknownVersion
from service.live_models import LiveModels
from service.settings import Settings

ALTERED = "its files are altered, missing or contradict themselves"
WRONG_GRAPH = "a graph is not what its manifest promises"
NOT_REPRODUCED = "its golden vectors are not reproduced here"


def open_catalog(*roots: Path, **settings: Any) -> Catalog:
    return LiveModels(
        Settings(model_repositories=roots, device="cpu") if not settings else Settings(**settings)
    ).catalog


def flip_a_byte(folder: Path) -> None:
    path = folder / "decoder.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def republish_graph(folder: Path, role: Role, content: bytes) -> None:
    """Another graph under the old name, with a manifest that vouches for it."""
    (folder / f"{role}.onnx").write_bytes(content)
    record = GraphFile.of(f"{role}.onnx", content).model_dump()
    edit_manifest(folder, lambda manifest: manifest["graphs"].update({role: record}))


def changed_graph(role: Role, change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        proto = TINY_BINARY.onnx_models()[role]
        change(proto)
        republish_graph(folder, role, proto.SerializeToString())

    return damage


def rename_output(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].name = "scores"
    for node in proto.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
        node.input[:] = ["scores" if name == "logits" else name for name in node.input]


def fix_the_batch(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def widen_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 17


def take_doubles(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    cast = helper.make_node("Cast", ["inputs"], ["inputs_as_float"], to=onnx.TensorProto.FLOAT)
    for node in proto.graph.node:
        node.input[:] = ["inputs_as_float" if name == "inputs" else name for name in node.input]
    proto.graph.node.insert(0, cast)


def add_noise(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("RandomNormalLike", ["inputs"], ["unused"]))


def change_a_weight(proto: onnx.ModelProto) -> None:
    for index, initializer in enumerate(proto.graph.initializer):
        if initializer.name == "encoder_2_bias":
            weight = numpy_helper.to_array(initializer) + np.float32(0.01)
            proto.graph.initializer[index].CopyFrom(numpy_helper.from_array(weight, initializer.name))


def forget_the_golden_codes(manifest: dict[str, Any]) -> None:
    codes = 1 - TINY_BINARY.encode(TINY_BINARY.inputs(3, seed=1)).codes
    manifest["golden"]["codes"] = Tensor.of(codes).model_dump(mode="json")


def divide_by_a_tiny_temperature(proto: onnx.ModelProto) -> None:
    """Mathematically the same division, but with inf - inf on the way at the least relaxation temperature."""
    sharpen = next(node for node in proto.graph.node if node.op_type == "Div")
    index = list(proto.graph.node).index(sharpen)
    proto.graph.node.remove(sharpen)
    for offset, node in enumerate(
        [
            helper.make_node("Div", ["scores", "row_relaxation_temperature"], ["big"]),
            helper.make_node("Div", ["big", "row_relaxation_temperature"], ["bigger"]),
            helper.make_node("Mul", ["bigger", "row_relaxation_temperature"], ["less"]),
            helper.make_node("Sub", ["less", "big"], ["difference"]),
            helper.make_node("Add", ["difference", "big"], ["sharpened"]),
        ]
    ):
        proto.graph.node.insert(index + offset, node)


BROKEN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a-flipped-byte": (flip_a_byte, ALTERED, "decoder.onnx"),
    "a-missing-graph": (lambda folder: (folder / "sampler.onnx").unlink(), ALTERED, "sampler.onnx"),
    "an-empty-manifest": (lambda folder: (folder / MANIFEST_FILE).write_text(""), ALTERED, "manifest.json"),
    "a-manifest-that-is-no-json": (lambda folder: (folder / MANIFEST_FILE).write_text("{"), ALTERED, "manifest.json"),
    "a-manifest-of-another-name": (
        lambda folder: edit_manifest(folder, lambda manifest: manifest.update(name="other")),
        ALTERED,
        "manifest.json",
    ),
    "a-manifest-with-another-size": (
        lambda folder: edit_manifest(folder, lambda manifest: manifest.update(num_latents=13)),
        ALTERED,
        "manifest.json",
    ),
    "a-manifest-with-an-unknown-key": (
        lambda folder: edit_manifest(folder, lambda manifest: manifest.update(colour="red")),
        ALTERED,
        "colour",
    ),
    "a-graph-that-is-no-onnx": (
        lambda folder: republish_graph(folder, "encoder", b"not a graph"),
        WRONG_GRAPH,
        "encoder.onnx",
    ),
    "a-graph-of-another-role": (
        lambda folder: republish_graph(folder, "encoder", TINY_BINARY.graphs()["decoder"]),
        WRONG_GRAPH,
        "encoder.onnx: expected inputs inputs, got relaxed",
    ),
    "a-graph-with-another-output": (
        changed_graph("encoder", rename_output),
        WRONG_GRAPH,
        "encoder.onnx: expected outputs logits, codes, got scores, codes",
    ),
    "a-graph-of-fixed-batch": (changed_graph("encoder", fix_the_batch), WRONG_GRAPH, "dynamic batch axis"),
    "a-graph-of-another-width": (changed_graph("encoder", widen_input), WRONG_GRAPH, "encoder.onnx"),
    "a-graph-of-doubles": (
        changed_graph("encoder", take_doubles),
        WRONG_GRAPH,
        "input inputs: expected float32, got float64",
    ),
    "a-graph-with-noise-inside": (changed_graph("encoder", add_noise), WRONG_GRAPH, "RandomNormalLike"),
    "other-weights": (changed_graph("encoder", change_a_weight), NOT_REPRODUCED, "golden logits"),
    "other-golden-codes": (
        lambda folder: edit_manifest(folder, forget_the_golden_codes),
        NOT_REPRODUCED,
        "golden codes: expected",
    ),
    "another-golden-seed": (
        lambda folder: edit_manifest(folder, lambda manifest: manifest["golden"].update(seed=12)),
        NOT_REPRODUCED,
        "golden sampled_codes: expected",
    ),
    "golden-inputs-outside-the-range": (
        lambda folder: edit_manifest(folder, lambda manifest: manifest["input"].update(maximum=0.5)),
        NOT_REPRODUCED,
        "golden vectors that the model itself refuses: inputs[0]",
    ),
    "a-sampler-that-overflows": (
        changed_graph("sampler", divide_by_a_tiny_temperature),
        NOT_REPRODUCED,
        "relaxed: expected finite values",
    ),
}


@pytest.fixture
def repository(tmp_path: Path, tiny_repository: Path) -> Path:
    """A copy of the tiny models, to be damaged."""
    return Path(shutil.copytree(tiny_repository, tmp_path / "repository"))


@pytest.mark.parametrize(("damage", "reason", "logged"), BROKEN.values(), ids=BROKEN)
def test_a_broken_model_is_not_served_and_the_others_are(
    repository: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], Any], reason: str, logged: str
) -> None:
    damage(repository / "tiny-binary" / "1")
    with caplog.at_level(logging.ERROR):
        catalog = open_catalog(repository)
    assert catalog.names() == ["tiny-categorical"]
    assert catalog.get("tiny-categorical").encode(TINY_CATEGORICAL.inputs(1)).codes is not None
    with pytest.raises(ModelUnavailable, match=reason):
        catalog.get("tiny-binary")
    readiness = catalog.readiness()
    assert not readiness.ready
    assert [(refusal.name, refusal.version, refusal.reason) for refusal in readiness.failed] == [
        ("tiny-binary", 1, reason)
    ]
    [record] = caplog.records
    assert str(repository / "tiny-binary" / "1") in record.getMessage()
    assert logged in record.getMessage()
    assert record.exc_info is None


def test_whole_models_are_ready(tiny_repository: Path) -> None:
    catalog = open_catalog(tiny_repository)
    assert catalog.readiness().ready
    assert catalog.names() == ["tiny-binary", "tiny-categorical"]


def test_the_highest_version_answers_and_every_version_can_be_asked_for(repository: Path) -> None:
    for _ in range(10):
        TINY_BINARY.publish(Repository(repository))
    catalog = open_catalog(repository)
    assert catalog.versions("tiny-binary") == list(range(1, 12))
    assert catalog.get("tiny-binary").manifest.version == 11
    assert catalog.get("tiny-binary", 2).manifest.version == 2


def test_the_highest_version_that_can_be_served_answers_and_the_refused_one_is_named(repository: Path) -> None:
    TINY_BINARY.publish(Repository(repository))
    flip_a_byte(repository / "tiny-binary" / "2")
    catalog = open_catalog(repository)
    assert catalog.default_version("tiny-binary") == 1
    assert catalog.get("tiny-binary").manifest.version == 1
    with pytest.raises(ModelUnavailable, match=r"version 2 of model tiny-binary .* can be asked for: 1$"):
        catalog.get("tiny-binary", 2)
    assert catalog.refusals("tiny-binary") == [Refusal("tiny-binary", 2, ALTERED)]
    assert catalog.readiness().ready
    assert catalog.readiness().failed == (Refusal("tiny-binary", 2, ALTERED),)


def test_readiness_that_is_not_strict_asks_for_any_model(repository: Path) -> None:
    flip_a_byte(repository / "tiny-binary" / "1")
    for is_strict in (True, False):
        catalog = open_catalog(model_repositories=(repository,), device="cpu", strict_readiness=is_strict)
        assert catalog.readiness().ready is not is_strict
        assert [refusal.name for refusal in catalog.readiness().failed] == ["tiny-binary"]


def test_a_broken_older_version_does_not_make_the_service_unready(repository: Path) -> None:
    TINY_BINARY.publish(Repository(repository))
    flip_a_byte(repository / "tiny-binary" / "1")
    catalog = open_catalog(repository)
    assert catalog.readiness().ready
    assert catalog.versions("tiny-binary") == [2]
    with pytest.raises(ModelUnavailable):
        catalog.get("tiny-binary", 1)


def test_what_was_never_there_is_unknown(tiny_repository: Path) -> None:
    catalog = open_catalog(tiny_repository)
    with pytest.raises(UnknownModel, match="no model 'mnist'; served are: tiny-binary, tiny-categorical"):
        catalog.get("mnist")
    with pytest.raises(UnknownModel):
        catalog.get("../tiny-binary", 1)
    with pytest.raises(UnknownVersion, match="no version 2; served are: 1"):
        catalog.get("tiny-binary", 2)


def test_without_a_single_model_the_service_is_not_ready(tmp_path: Path) -> None:
    readiness = open_catalog(tmp_path).readiness()
    assert not readiness.ready
    assert readiness.failed == ()


def test_of_two_repositories_the_first_hides_the_same_version_of_the_second(
    tmp_path: Path, tiny_repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = TinyModel("tiny-binary", "binary", 3, 2, (4,))
    other.publish(Repository(tmp_path))
    other.publish(Repository(tmp_path))
    catalog = open_catalog(tiny_repository, tmp_path)
    assert catalog.get("tiny-binary", 1).manifest.num_latents == 12
    assert catalog.get("tiny-binary", 2).manifest.num_latents == 3
    assert f"version 1 of {tmp_path} is hidden by the one of {tiny_repository}" in caplog.text


def test_a_repository_that_was_named_must_exist_and_the_default_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RepositoryMissing, match="nowhere is not a folder"):
        open_catalog(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LATENT_CODES_MODEL_REPOSITORIES", raising=False)
    assert LiveModels(Settings()).catalog.names() == []


def test_demanding_cuda_where_there_is_none_refuses_to_start(tiny_repository: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime was built with CUDA")
    with pytest.raises(DeviceUnavailable, match=r"device is cuda, and the installed ONNX Runtime .* without CUDA"):
        open_catalog(model_repositories=(tiny_repository,), device="cuda")


def test_a_model_of_many_categories_is_served_with_wide_codes(tmp_path: Path) -> None:
    wide = replace(TINY_CATEGORICAL, name="wide", num_latents=3, num_categories=300)
    wide.publish(Repository(tmp_path))
    codes = open_catalog(tmp_path).get("wide").encode(wide.inputs(40)).codes
    assert codes is not None
    assert codes.dtype == np.uint16
    np.testing.assert_array_equal(codes, wide.encode(wide.inputs(40)).codes)
