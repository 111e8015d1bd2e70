import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tiny_vae import BITS, NUM_VALUES, vae
from torch import nn

from training.errors import ExportRefused
from training.exported import ExportedModel
from training.graphs import OPSET, build_graphs, random_operators
from training.latents import LatentConfig
from training.model import DiscreteVAE
from training.networks import MlpConfig
from training.priors import PriorConfig


@pytest.fixture
def built(published):
    """A model and its graphs."""
    model, _, stored = published
    return model, stored.graphs


def protos(graphs):
    return {role: onnx.load_from_string(graph) for role, graph in graphs.items()}


def test_graphs_are_valid_whole_files_without_random_operators(built):
    for role, proto in protos(built[1]).items():
        onnx.checker.check_model(proto, full_check=True)
        assert random_operators(proto) == []
        assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", OPSET)]
        assert not any(tensor.external_data for tensor in proto.graph.initializer)
        assert proto.graph.name == role


def test_graphs_say_what_model_they_are_of(built):
    latent = built[0].latent
    for role, proto in protos(built[1]).items():
        assert {prop.key: prop.value for prop in proto.metadata_props} == {
            "model": "tiny",
            "graph": role,
            "kind": latent.kind,
            "num_latents": str(latent.num_latents),
            "num_categories": str(latent.num_categories),
            "bit_order": "most significant first",
        }
        assert proto.producer_name == "latent-codes"


def test_graphs_hold_nothing_of_the_machine_they_were_made_on(built):
    for graph in built[1].values():
        for trace in (str(Path.home()), str(Path.cwd()), ".py", "torch"):
            assert trace.encode() not in graph


def test_building_twice_gives_the_same_bytes_quietly_and_leaves_the_model_as_it_was(built, capfd):
    model = copy.deepcopy(built[0]).double().train()
    before = copy.deepcopy(model.state_dict())
    assert build_graphs(model, "tiny") == built[1]
    assert capfd.readouterr() == ("", "")
    assert model.training
    for name, values in model.state_dict().items():
        assert values.dtype == torch.float64
        assert torch.equal(values, before[name])


def test_every_input_of_the_sampler_is_an_input_of_its_own(built):
    # The exporter takes two inputs for one when they are traced with one tensor.
    sampler = protos(built[1])["sampler"]
    used = {name for node in sampler.graph.node for name in node.input}
    assert {value.name for value in sampler.graph.input} <= used


def test_codes_of_more_than_256_categories_take_two_bytes():
    latent = LatentConfig(kind="categorical", num_latents=2, num_categories=257)
    signatures = ExportedModel(build_graphs(vae(latent), "wide")).signatures()
    assert signatures["encoder"].outputs[1].dtype == "uint16"
    assert signatures["sampler"].outputs[0].dtype == "uint16"


@pytest.mark.parametrize(
    "operator", ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"]
)
def test_random_operators_are_found(operator):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Abs", ["x"], ["y"]), helper.make_node(operator, ["y"], ["z"])]
    proto = helper.make_model(helper.make_graph(nodes, "graph", [value], []))
    assert random_operators(proto) == [operator]


def test_a_model_that_draws_its_own_noise_is_refused():
    class Noisy(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, inputs):
            return self.body(inputs + torch.rand_like(inputs))

    model = vae(BITS)
    model.encoder.body = Noisy(model.encoder.body)
    with pytest.raises(ExportRefused, match=r"encoder graph: expected no random operators.*got RandomUniformLike"):
        build_graphs(model, "noisy")


def test_an_autoregressive_prior_becomes_a_graph_with_its_masks_multiplied_into_the_weights():
    torch.manual_seed(3)
    model = DiscreteVAE(
        LatentConfig(kind="categorical", num_latents=4, num_categories=3),
        MlpConfig(hidden=(5,)),
        (NUM_VALUES,),
        torch.full((NUM_VALUES,), 0.4),
        prior=PriorConfig(name="autoregressive", hidden=(70,)),
    )
    with torch.no_grad():
        for weight in model.prior.parameters():
            weight.add_(torch.randn_like(weight))
    before = copy.deepcopy(model.state_dict())
    graphs = build_graphs(model, "learned")
    for name, values in model.state_dict().items():
        assert torch.equal(values, before[name])
    assert len(graphs["prior"]) < 1.5 * 4 * sum(weight.numel() for weight in model.prior.parameters())

    codes = model.latent.from_indices(torch.randint(0, 3, (50, 4)))
    runtime = ExportedModel(graphs)
    with torch.no_grad():
        np.testing.assert_allclose(runtime.prior_logits(codes.numpy()), model.prior(codes), atol=1e-4)
    # The last latent is seen by none, whatever stands there.
    changed = codes.clone()
    changed[:, -1] = 0.5
    np.testing.assert_array_equal(runtime.prior_logits(changed.numpy()), runtime.prior_logits(codes.numpy()))


def test_the_batch_axis_is_dynamic_and_no_other_is(built):
    for proto in protos(built[1]).values():
        for value in (*proto.graph.input, *proto.graph.output):
            first, *rest = value.type.tensor_type.shape.dim
            assert first.dim_param == "batch"
            assert all(axis.dim_value > 0 for axis in rest)
    encoder = protos(built[1])["encoder"].graph.input[0]
    assert encoder.type.tensor_type.shape.dim[1].dim_value == NUM_VALUES
