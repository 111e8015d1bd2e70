"""Every relaxation as an ONNX graph, noise and both temperatures as inputs: ONNX Runtime against PyTorch."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch
from relaxation_cases import extreme_noise, latent_of
from torch import nn

from training.graphs import random_operators
from training.relaxations import RELAXATIONS

TEMPERATURES = [0.0, 1e-30, 0.3, 1.0, 2.0, 1e30]
TAUS = [1e-30, 0.1, 1.0, 1e30]
INPUTS = ["parameters", "noise", "temperature", "relaxation_temperature"]
OUTPUTS = ["logits", "scores", "relaxed", "codes"]


class Graph(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.relaxation = RELAXATIONS[name]
        self.latent = latent_of(self.relaxation, 4)

    def forward(self, parameters, noise, temperature, relaxation_temperature):
        a_row_each = (-1, *(1 for _ in self.latent.shape))
        law = self.relaxation(parameters, self.latent)
        scores = law.scores(noise, temperature.reshape(a_row_each))
        relaxed = law.relaxed(scores, relaxation_temperature.reshape(a_row_each))
        return law.logits, scores, relaxed, self.latent.indices(self.latent.most_probable(scores))


@pytest.fixture(scope="module", params=list(RELAXATIONS))
def exported(request):
    """The graph as a module, and as a session of ONNX Runtime."""
    graph = Graph(request.param).eval()
    shapes = [graph.relaxation.parameter_shape(graph.latent), graph.latent.shape, (), ()]
    batch = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        graph,
        tuple(torch.zeros(2, *shape) for shape in shapes),
        dynamo=True,
        opset_version=18,
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_shapes=tuple(batch for _ in shapes),
        verbose=False,
    )
    assert not random_operators(program.model_proto)
    return graph, onnxruntime.InferenceSession(program.model_proto.SerializeToString())


def points(graph):
    """Ordinary and extreme parameters with ordinary and extreme noise, at every pair of temperatures."""
    generator = torch.Generator().manual_seed(8)
    shape = graph.relaxation.parameter_shape(graph.latent)
    ordinary = [torch.zeros(1, *shape)] + [
        scale * torch.randn(6, *shape, generator=generator) for scale in (0.01, 1.0, 4.0, 1e4)
    ]
    law = graph.relaxation(torch.cat(ordinary), graph.latent)
    noise = torch.cat([extreme_noise(law), law.draw_noise(generator)])
    cases = list(product(range(len(law.parameters)), range(len(noise)), TEMPERATURES, TAUS))
    rows, draws, temperatures, taus = zip(*cases, strict=True)
    return law.parameters[list(rows)], noise[list(draws)], torch.tensor(temperatures), torch.tensor(taus)


@pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations
def test_onnx_runtime_agrees_with_pytorch_at_ordinary_and_extreme_points(exported):
    graph, session = exported
    inputs = points(graph)
    got = session.run(OUTPUTS, dict(zip(INPUTS, (value.numpy() for value in inputs), strict=True)))
    assert all(np.isfinite(values).all() for values in got)
    logits, scores, relaxed, codes = got
    with torch.no_grad():
        expected_logits, expected_scores, _, expected_codes = graph(*inputs)
    np.testing.assert_allclose(logits, expected_logits.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores, expected_scores.numpy(), rtol=1e-5, atol=1e-6)
    # The rest is a function of the scores: compared on the same ones, since a tiny tau magnifies their last digit.
    a_row_each = (-1, *(1 for _ in graph.latent.shape))
    law = graph.relaxation(inputs[0], graph.latent)
    same = torch.from_numpy(scores)
    np.testing.assert_allclose(relaxed, law.relaxed(same, inputs[3].reshape(a_row_each)).numpy(), atol=1e-6)
    np.testing.assert_array_equal(codes, graph.latent.indices(graph.latent.most_probable(same)).numpy())
    # PyTorch's codes, but for ties within what float32 rounding can turn.
    largest = expected_scores.abs().reshape(len(codes), -1).amax(dim=1, keepdim=True)
    firm = graph.latent.margins(expected_scores) > 1e-5 * (1 + largest)
    assert firm.float().mean() > 0.8
    assert (codes == expected_codes.numpy())[firm.numpy()].all()
