import pytest
import torch

from training.devices import choose_device, describe
from training.errors import ConfigError

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")


def test_auto_takes_a_gpu_exactly_where_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_cpu_can_be_asked_for_everywhere():
    assert choose_device("cpu") == torch.device("cpu")


@without_cuda
def test_cuda_is_refused_with_advice_where_there_is_none():
    with pytest.raises(ConfigError, match=r"^--device cuda: this PyTorch sees no CUDA GPU; use --device cpu"):
        choose_device("cuda")


def test_a_device_is_described_with_what_decides_its_speed():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert describe(torch.device("cpu")) == "cpu, 1 thread"
        torch.set_num_threads(2)
        assert describe(torch.device("cpu")) == "cpu, 2 threads"
    finally:
        torch.set_num_threads(before)
