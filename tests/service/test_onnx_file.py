"""Reading operators from the bytes of an ONNX file, with the `onnx` package as the oracle."""

import io

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import TINY_MODELS, TinyModel

from service.errors import GraphRefused
from service.onnx_file import contents, refuse_unsafe


def model_of(*nodes: onnx.NodeProto, domain: str = "", initializers: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    """A model of these nodes, from "x" [2] to "y" [2]."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "test", value[:1], value[1:], initializers)
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets)


IDENTITY = helper.make_node("Identity", ["x"], ["y"])


@pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)
def test_the_operators_are_those_that_onnx_finds(model: TinyModel) -> None:
    for proto in model.onnx_models().values():
        found = contents(proto.SerializeToString())
        assert found.operators == {(node.domain, node.op_type) for node in proto.graph.node}
        assert not found.has_external_data
        refuse_unsafe(proto.SerializeToString())


@pytest.mark.parametrize(
    "operator",
    ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"],
)
def test_a_random_operator_is_refused_by_name(operator: str) -> None:
    proto = model_of(IDENTITY, helper.make_node(operator, ["x"], ["unused"]))
    with pytest.raises(GraphRefused, match=f"no random operator, got '{operator}'"):
        refuse_unsafe(proto.SerializeToString())


def test_a_random_operator_is_found_inside_a_branch() -> None:
    branch = helper.make_graph(
        [helper.make_node("RandomNormal", [], ["z"], shape=[2])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
    )
    condition = numpy_helper.from_array(np.array(True), "condition")
    choice = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(GraphRefused, match="RandomNormal"):
        refuse_unsafe(model_of(choice, initializers=(condition,)).SerializeToString())


def test_a_random_operator_is_found_inside_a_function() -> None:
    proto = model_of(IDENTITY)
    proto.functions.append(
        helper.make_function(
            "",
            "Quiet",
            ["a"],
            ["b"],
            [helper.make_node("RandomUniformLike", ["a"], ["b"])],
            [helper.make_opsetid("", 18)],
        )
    )
    with pytest.raises(GraphRefused, match="RandomUniformLike"):
        refuse_unsafe(proto.SerializeToString())


def test_an_operator_of_another_domain_is_refused() -> None:
    proto = model_of(helper.make_node("Anything", ["x"], ["y"], domain="com.example"), domain="com.example")
    with pytest.raises(GraphRefused, match=r"'Anything' of domain 'com\.example'"):
        refuse_unsafe(proto.SerializeToString())


@pytest.mark.parametrize("place", ["initializer", "attribute"])
def test_weights_in_another_file_are_refused(place: str) -> None:
    weight = numpy_helper.from_array(np.zeros(2, np.float32), "weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    if place == "initializer":
        proto = model_of(helper.make_node("Add", ["x", "weight"], ["y"]), initializers=(weight,))
    else:
        proto = model_of(helper.make_node("Constant", [], ["y"], value=weight))
    with pytest.raises(GraphRefused, match="external data"):
        refuse_unsafe(proto.SerializeToString())


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", b"\x00" * 20, b"\xff" * 20, io.BytesIO(b"PK\x03\x04zip").getvalue()],
    ids=["nothing", "text", "zeros", "ones", "zip"],
)
def test_bytes_that_are_no_onnx_file_are_refused(content: bytes) -> None:
    with pytest.raises(GraphRefused):
        refuse_unsafe(content)


def test_a_file_cut_anywhere_is_refused_or_still_a_message_of_fewer_fields() -> None:
    whole = TINY_MODELS[0].graphs()["decoder"]
    operators = contents(whole).operators
    refused = 0
    for length in range(len(whole)):
        try:
            assert contents(whole[:length]).operators <= operators
        except GraphRefused:
            refused += 1
    assert refused > 0.9 * len(whole)
