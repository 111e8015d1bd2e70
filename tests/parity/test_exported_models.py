"""PyTorch against ONNX Runtime, through the check that every export must pass; and that it cannot be passed wrongly."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.graphs import signatures
from models.manifest import ROLES
from training.errors import ExportRefused
from training.exported import ExportedModel
from training.parity import TOLERANCE, check_parity


def test_pytorch_and_onnx_runtime_agree_on_every_output(exported, inputs):
    parity = check_parity(exported.model, exported.runtime, inputs, relaxation_temperature=0.37)
    assert parity.num_rows == len(inputs)
    assert set(parity.differences) == {"logits", "relaxed", "probabilities", "margins", "outputs"}
    # What float32 leaves is far below the tolerance.
    assert max(parity.differences.values()) < TOLERANCE / 5
    # 17 runs of the symbols: the encoder's, and the sampler's at 4 temperatures by 4 relaxation temperatures.
    assert parity.num_codes + parity.num_ties == 17 * len(inputs) * exported.model.latent.num_latents
    assert parity.num_ties < parity.num_codes / 100


def test_one_row_is_enough_for_the_check(exported, inputs):
    assert check_parity(exported.model, exported.runtime, inputs[:1], relaxation_temperature=1.0).num_rows == 1


@pytest.mark.parametrize(
    ("part", "output"), [("encoder", "logits: "), ("decoder", "outputs: ")], ids=["encoder", "decoder"]
)
def test_graphs_of_a_model_a_thousandth_off_are_refused_with_the_difference(exported, inputs, part, output):
    other = copy.deepcopy(exported.model)
    with torch.no_grad():
        for weight in getattr(other, part).parameters():
            weight.mul_(1.001)
    with pytest.raises(ExportRefused, match=rf"^{output}expected ONNX Runtime within 0.0001 .* got a difference of \d"):
        check_parity(other, exported.runtime, inputs, relaxation_temperature=0.5)


class Perturbed(ExportedModel):
    """An exported model that answers as the real one, but for some outputs of one method."""

    def __init__(self, graphs, method, **changes) -> None:
        super().__init__(graphs)
        self._method, self._changes = method, changes

    def encode(self, *arguments):
        return self._perturb("encode", super().encode(*arguments))

    def sample(self, *arguments):
        return self._perturb("sample", super().sample(*arguments))

    def _perturb(self, method, result):
        if method != self._method:
            return result
        return result._replace(**{name: change(getattr(result, name)) for name, change in self._changes.items()})


def one_more(codes):
    """The last row's last symbol replaced by another."""
    changed = codes.copy()
    changed[-1, -1] = 1 if codes[-1, -1] == 0 else 0
    return changed


def not_finite(values):
    changed = values.copy()
    changed.flat[-1] = np.nan
    return changed


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("encode", {"codes": one_more}, "codes of the encoder graph: expected the codes of PyTorch"),
        ("sample", {"codes": one_more}, "codes of the sampler graph: expected the codes of PyTorch"),
        ("sample", {"relaxed": lambda values: values + 2 * TOLERANCE}, "relaxed: expected ONNX Runtime within 0.0001"),
        ("sample", {"probabilities": lambda values: values * 0.99}, "probabilities: expected ONNX Runtime within"),
        ("sample", {"margins": lambda values: values + 2 * TOLERANCE}, "margins: expected ONNX Runtime within"),
        ("encode", {"logits": not_finite}, "logits: expected finite numbers from ONNX Runtime, got NaN"),
    ],
    ids=["encoder-code", "sampler-code", "relaxed", "probabilities", "margins", "nan"],
)
def test_a_runtime_that_gets_one_output_wrong_is_refused(exported, inputs, method, changes, message):
    wrong = Perturbed(exported.graphs, method, **changes)
    with pytest.raises(ExportRefused, match=message):
        check_parity(exported.model, wrong, inputs, relaxation_temperature=0.5)


def test_codes_may_differ_where_two_scores_tie_and_nowhere_else(exported, inputs):
    # A model whose logits are all 0: its codes say nothing, and none is compared.
    tied = copy.deepcopy(exported.model)
    with torch.no_grad():
        for weight in tied.encoder.parameters():
            weight.zero_()
    runtime = Perturbed(exported.graphs, "encode", logits=np.zeros_like, parameters=np.zeros_like, codes=one_more)
    parity = check_parity(tied, runtime, inputs, relaxation_temperature=0.5)
    # The encoder's symbols tie, and the sampler's in 4 of 16 runs, at temperature 0; with noise they do not.
    num_symbols = len(inputs) * tied.latent.num_latents
    assert 5 * num_symbols <= parity.num_ties < 5.1 * num_symbols


def test_graphs_have_the_signatures_of_the_contract(exported, inputs):
    # What `signatures` asks of a manifest.
    latent = exported.model.latent
    manifest = SimpleNamespace(
        roles=ROLES,
        latent_shape=latent.shape,
        parameter_shape=latent.shape,
        num_latents=latent.num_latents,
        layout=latent.layout,
        input=SimpleNamespace(size=inputs.shape[1]),
    )
    got = exported.runtime.signatures()
    assert set(got) == set(ROLES)
    assert got == signatures(manifest)
