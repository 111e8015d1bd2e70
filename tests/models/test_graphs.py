"""`models/graphs.py`: the signatures follow the manifest."""

from collections.abc import Callable

from models.graphs import TensorSpec, signatures
from models.manifest import Manifest


def test_signatures_of_a_binary_model(make_manifest: Callable[..., Manifest]) -> None:
    graphs = signatures(make_manifest())
    assert graphs["encoder"].inputs == (TensorSpec("inputs", "float32", (6,)),)
    assert graphs["encoder"].outputs == (TensorSpec("logits", "float32", (5,)), TensorSpec("codes", "uint8", (5,)))
    assert graphs["decoder"].inputs == (TensorSpec("relaxed", "float32", (5,)),)
    assert graphs["decoder"].outputs == (TensorSpec("outputs", "float32", (6,)),)


def test_signatures_of_a_categorical_model_of_many_categories(make_manifest: Callable[..., Manifest]) -> None:
    graphs = signatures(make_manifest("categorical", num_latents=3, num_categories=300))
    sampler = graphs["sampler"]
    assert [(spec.name, spec.shape) for spec in sampler.inputs] == [
        ("logits", (3, 300)),
        ("noise", (3, 300)),
        ("temperature", ()),
        ("relaxation_temperature", ()),
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in sampler.outputs] == [
        ("codes", "uint16", (3,)),
        ("relaxed", "float32", (3, 300)),
        ("probabilities", "float32", (3, 300)),
        ("margins", "float32", (3,)),
    ]
    assert graphs["encoder"].outputs[1] == TensorSpec("codes", "uint16", (3,))
