"""Execution providers: what is asked of ONNX Runtime for each device. What a GPU makes of it is not tested here."""

from pathlib import Path

import onnxruntime
import pytest

from models.graphs import TensorSpec
from service.errors import DeviceUnavailable
from service.providers import CPU, CUDA, TENSORRT, DeviceOptions, require, wanted

INPUTS = (TensorSpec("logits", "float32", (20, 10)), TensorSpec("temperature", "float32", ()))


def names(device: str, options: DeviceOptions | None = None) -> list[str]:
    return [name for name, _ in wanted(device, options or DeviceOptions(), INPUTS, 64)]


def options_of(provider: str, device: str, **options: object) -> dict[str, object]:
    return dict(wanted(device, DeviceOptions(**options), INPUTS, 64))[provider]


def test_what_a_device_does_not_support_falls_to_the_next() -> None:
    assert names("cpu") == [CPU]
    assert names("cuda") == [CUDA, CPU]
    assert names("tensorrt") == [TENSORRT, CUDA, CPU]


@pytest.mark.parametrize(("available", "expected"), [([CPU], [CPU]), ([TENSORRT, CUDA, CPU], [CUDA, CPU])])
def test_by_default_cuda_is_taken_where_it_was_built_in(
    monkeypatch: pytest.MonkeyPatch, available: list[str], expected: list[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    assert names("auto") == expected


def test_nothing_is_rounded_to_fewer_bits() -> None:
    for device in ("cuda", "tensorrt"):
        assert options_of(CUDA, device)["use_tf32"] == "0"
    asked = options_of(TENSORRT, "tensorrt")
    assert (asked["trt_fp16_enable"], asked["trt_int8_enable"]) == ("0", "0")


def test_several_models_share_a_device_by_bounded_arenas_that_grow_by_what_is_needed() -> None:
    asked = options_of(CUDA, "cuda", memory_limit_bytes=1 << 30)
    assert (asked["gpu_mem_limit"], asked["arena_extend_strategy"]) == ("1073741824", "kSameAsRequested")
    assert "gpu_mem_limit" not in options_of(CUDA, "cuda")
    grown = options_of(CUDA, "cuda", arena_extension="kNextPowerOfTwo")
    assert grown["arena_extend_strategy"] == "kNextPowerOfTwo"


def test_tensorrt_plans_once_for_all_batches() -> None:
    asked = options_of(TENSORRT, "tensorrt")
    assert asked["trt_profile_min_shapes"] == "logits:1x20x10,temperature:1"
    assert asked["trt_profile_max_shapes"] == asked["trt_profile_opt_shapes"] == "logits:64x20x10,temperature:64"
    assert "trt_engine_cache_enable" not in asked


def test_tensorrt_keeps_its_engines_where_it_is_told_to() -> None:
    asked = options_of(TENSORRT, "tensorrt", tensorrt_cache=Path("engines"))
    assert (asked["trt_engine_cache_enable"], asked["trt_engine_cache_path"]) == ("1", "engines")


@pytest.mark.parametrize(("device", "provider"), [("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_a_device_that_was_not_built_in_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, device: str, provider: str
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceUnavailable, match=rf"device is {device}, .* without {provider}: install .* gpu"):
        require(device)
    require("cpu")
    require("auto")
