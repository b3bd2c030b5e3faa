"""Files from strangers: what is accepted, and the named reason for what is not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from tieshare.errors import (
    ExternalData,
    NotOnnx,
    TieshareError,
    UnsupportedModel,
    UnsupportedOperator,
)
from tieshare.graph import LayerCard, TensorSpec, describe, read_model, structure_of

Make = Callable[[str], ModelProto]
OPSET = '<ir_version: 8, opset_import: ["" : 17]>'


def test_every_network_of_the_zoo_is_accepted_and_described(network: ModelProto) -> None:
    card = describe(read_model(network.SerializeToString()))
    assert card.parameters > sum(layer.rows * layer.columns for layer in card.layers) - 1
    assert len(card.layers) >= 2
    assert card.inputs[0].dtype == "float32"


def test_the_card_of_lenet5_counts_what_it_has(zoo: Make) -> None:
    card = describe(zoo("lenet5-script-free"))
    assert card.parameters == 431_080
    assert card.opset == 20
    assert card.inputs == (TensorSpec("x", "float32", ("batch", 1, 28, 28)),)
    assert card.outputs == (TensorSpec("y", "float32", ("batch", 10)),)
    assert card.layers[2] == LayerCard("/5/Gemm", "Gemm", 800, 500)


def test_the_card_of_a_scikit_learn_model_names_its_label_and_its_free_batch(zoo: Make) -> None:
    card = describe(zoo("sklearn-binary"))
    assert card.inputs == (TensorSpec("X", "float32", (None, 5)),)
    assert [(spec.name, spec.dtype) for spec in card.outputs] == [
        ("label", "int64"),
        ("probabilities", "float32"),
    ]
    assert card.parameters == 5 * 8 + 8 + 8 * 6 + 6 + 6 + 1


@pytest.mark.parametrize("data", [b"", b"\x00", b"PK\x03\x04zip", b"not a model at all"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(NotOnnx):
        read_model(data)


def test_random_bytes_are_refused() -> None:
    rng = np.random.default_rng(0)
    for length in range(1, 200):
        with pytest.raises(NotOnnx):
            read_model(rng.bytes(length))


def test_a_truncated_model_is_refused_wherever_it_ends(zoo: Make) -> None:
    data = zoo("keras-cnn").SerializeToString()
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(TieshareError):
            read_model(data[:end])


def test_damaged_models_are_accepted_whole_or_refused_by_name(zoo: Make) -> None:
    rng = np.random.default_rng(0)
    data = zoo("keras-cnn").SerializeToString()
    refused = 0
    for _ in range(500):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            damaged[place] = rng.integers(256)
        try:
            model = read_model(bytes(damaged))
            describe(model)
            structure_of(model)
        except TieshareError:
            refused += 1
    assert refused > 100


def _point_elsewhere(tensor: TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


@pytest.mark.parametrize("kind", ["relative", "parent", "absolute", "symlink"])
def test_weights_in_another_file_are_refused_unopened(
    zoo: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 4096)
    (tmp_path / "link").symlink_to(secret)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    location = {
        "relative": "weights.bin",
        "parent": "../secret",
        "absolute": str(secret),
        "symlink": "../link",
    }[kind]
    model = zoo("keras-mlp")
    tensor = model.graph.initializer[1]
    _point_elsewhere(tensor, location)
    with pytest.raises(ExternalData, match=tensor.name) as caught:
        read_model(model.SerializeToString())
    assert location in caught.value.message
    assert caught.value.where == tensor.name


def _external(name: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    _point_elsewhere(tensor, "../secret")
    return tensor


def _in_constant(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=_external("hidden")))


def _in_sparse(model: ModelProto) -> None:
    indices = numpy_helper.from_array(np.array([0, 1]), "indices")
    sparse = helper.make_sparse_tensor(_external("hidden"), indices, [4])
    model.graph.sparse_initializer.append(sparse)


def _in_subgraph(model: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [_external("hidden")])
    node = helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def _in_function(model: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=_external("hidden"))
    opset = [helper.make_opsetid("", 15)]
    model.functions.append(helper.make_function("local", "f", [], ["c"], [node], opset))


def _in_a_list_of_tensors(model: ModelProto) -> None:
    attribute = AttributeProto(name="many", type=AttributeProto.TENSORS)
    attribute.tensors.append(_external("hidden"))
    model.graph.node[0].attribute.append(attribute)


@pytest.mark.parametrize(
    "hide", [_in_constant, _in_sparse, _in_subgraph, _in_function, _in_a_list_of_tensors]
)
def test_external_data_is_found_wherever_it_hides(
    zoo: Make, hide: Callable[[ModelProto], None]
) -> None:
    model = zoo("keras-mlp")
    hide(model)
    with pytest.raises(ExternalData, match="hidden"):
        read_model(model.SerializeToString())


def test_a_name_that_is_no_text_is_refused(zoo: Make) -> None:
    data = zoo("keras-mlp").SerializeToString()
    broken = data.replace(b"probabilities", b"probabilit\xff\xfes")
    with pytest.raises(NotOnnx, match="UTF-8"):
        read_model(broken)


def test_a_tensor_with_fewer_bytes_than_its_shape_is_refused(zoo: Make) -> None:
    model = zoo("keras-mlp")
    model.graph.initializer[1].raw_data = model.graph.initializer[1].raw_data[:-4]
    with pytest.raises(NotOnnx):
        read_model(model.SerializeToString())


def test_nodes_whose_shapes_contradict_are_refused(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        wrong (float[N, 3] x) => (float[N, 2] y) <float[4, 2] w> {{ y = MatMul (x, w) }}""")
    with pytest.raises(NotOnnx, match="MatMul"):
        read_model(model.SerializeToString())


def test_a_model_without_weights_is_refused(from_text: Make) -> None:
    model = from_text(f"{OPSET} bare (float[N, 3] x) => (float[N, 3] y) {{ y = Relu (x) }}")
    with pytest.raises(UnsupportedModel, match="nothing to compress"):
        read_model(model.SerializeToString())


def test_a_weight_that_is_not_finite_is_named(zoo: Make) -> None:
    model = zoo("keras-mlp")
    tensor = next(item for item in model.graph.initializer if item.name == "w1")
    values = numpy_helper.to_array(tensor).copy()
    values[3, 1] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, "w1"))
    with pytest.raises(UnsupportedModel, match="NaN") as caught:
        read_model(model.SerializeToString())
    assert caught.value.where == "w1"


def test_weights_of_half_precision_are_refused_by_name() -> None:
    weight = numpy_helper.from_array(np.ones((3, 2), dtype=np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mul")],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["N", 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(UnsupportedModel, match="'w' is float16; weights of float32") as caught:
        read_model(model.SerializeToString())
    assert caught.value.where == "w"


def test_an_operator_that_is_not_known_is_named_with_node_and_opset(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        chance (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w> {{
            h = MatMul (x, w)
            [coin] y = Bernoulli (h)
        }}""")
    with pytest.raises(UnsupportedOperator) as caught:
        read_model(model.SerializeToString())
    assert (caught.value.node, caught.value.operator, caught.value.opset) == (
        "coin",
        "Bernoulli",
        17,
    )


@pytest.mark.parametrize(
    ("opset", "node"),
    [
        (15, "[left] r, s, t = BatchNormalization <training_mode = 1> (h, g, b, mean, var)"),
        (9, "[left] r, s, t, u, v = BatchNormalization (h, g, b, mean, var)"),
        (13, "[left] r = Dropout (h, half, yes)"),
    ],
)
def test_a_model_that_was_exported_in_training_mode_is_refused(
    from_text: Make, opset: int, node: str
) -> None:
    model = from_text(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        train (float[N, 2] x) => (float[N, 2] y)
        <float[2, 3] w1, float[3, 2] w2, float[3] g, float[3] b, float[3] mean, float[3] var,
         float half = {{0.5}}, bool yes = {{1}}> {{
            h = MatMul (x, w1)
            {node}
            y = MatMul (r, w2)
        }}""")
    with pytest.raises(UnsupportedOperator, match="evaluation mode") as caught:
        read_model(model.SerializeToString())
    assert caught.value.where == "left"


@pytest.mark.parametrize("domain", ["", "acme"])
def test_an_operator_that_onnx_does_not_define_is_named_too(from_text: Make, domain: str) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17, "acme" : 3]>
        chance (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w> {
            h = MatMul (x, w)
            [wave] y = Relu (h)
        }""")
    model.graph.node[1].op_type = "Wave"
    model.graph.node[1].domain = domain
    with pytest.raises(UnsupportedOperator) as caught:
        read_model(model.SerializeToString())
    assert (caught.value.node, caught.value.opset) == ("wave", 3 if domain else 17)
    assert "Wave" in caught.value.operator


def test_the_zip_map_of_a_scikit_learn_model_is_refused_with_the_way_out(zoo: Make) -> None:
    """skl2onnx declares its output as a tensor, which the checker then calls a contradiction."""
    model = zoo("sklearn-binary")
    model.graph.node[-1].output[0] = "array"
    node = helper.make_node("ZipMap", ["array"], ["probabilities"], "zip", domain="ai.onnx.ml")
    node.attribute.append(helper.make_attribute("classlabels_int64s", [0, 1]))
    model.graph.node.append(node)
    with pytest.raises(UnsupportedOperator, match="zipmap=False") as caught:
        read_model(model.SerializeToString())
    assert caught.value.node == "zip"


def test_labels_that_are_words_are_described_as_such(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        words (float[N, 3] x, string[N] s) => (float[N, 2] y, string[N] t) <float[3, 2] w> {{
            y = MatMul (x, w)
            t = Identity (s)
        }}""")
    assert describe(model).outputs[1] == TensorSpec("t", "str", ("N",))


def test_local_functions_are_inlined(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        calls (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w> {
            h = MatMul (x, w)
            y = local.twice (h)
        }
        <opset_import: ["" : 17], domain: "local">
        twice (a) => (b) { b = Add (a, a) }
    """)
    read = read_model(model.SerializeToString())
    assert [node.op_type for node in read.graph.node] == ["MatMul", "Add"]
    assert not read.functions


def test_reading_and_describing_need_no_torch() -> None:
    code = "import sys, tieshare.graph; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_node_that_no_gradient_passes_is_named_where_nothing_else_is_left(
    from_text: Make,
) -> None:
    model = from_text(f"""{OPSET}
        steps (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w> {{
            h = MatMul (x, w)
            [rounds] y = Round (h)
        }}""")
    with pytest.raises(UnsupportedOperator, match="no gradient passes it") as caught:
        read_model(model.SerializeToString())
    assert caught.value.node == "rounds"


def test_an_opset_that_is_too_old_is_named(from_text: Make) -> None:
    model = from_text("""<ir_version: 4, opset_import: ["" : 6]>
        old (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w> { y = MatMul (x, w) }""")
    with pytest.raises(UnsupportedModel, match="opset 6; 7 and later"):
        read_model(model.SerializeToString())


def _calling(levels: int) -> ModelProto:
    """Functions, each of which calls the one before it twice."""
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    bodies = [[helper.make_node("Relu", ["i"], ["o"])]]
    for level in range(1, levels):
        name = f"f{level - 1}"
        bodies.append(
            [
                helper.make_node(name, ["i"], ["m"], domain="local"),
                helper.make_node(name, ["m"], ["o"], domain="local"),
            ]
        )
    functions = [
        helper.make_function("local", f"f{level}", ["i"], ["o"], body, opset)
        for level, body in enumerate(bodies)
    ]
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node(f"f{levels - 1}", ["h"], ["y"], domain="local"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    return helper.make_model(graph, opset_imports=opset, functions=functions, ir_version=9)


def test_functions_are_inlined_up_to_a_million_nodes() -> None:
    assert len(read_model(_calling(5).SerializeToString()).graph.node) == 1 + 2**4
    with pytest.raises(UnsupportedModel, match=r"5\.5e\+11 nodes"):
        read_model(_calling(40).SerializeToString())


def test_a_value_that_no_memory_holds_is_named(from_text: Make) -> None:
    text = """<ir_version: 9, opset_import: ["" : 20]>
    g (float[N, 4] x) => (float[N, 4] y)
    <float[4, 4] w, float[1, 1] one, int64[2] big = {70000, 70000}> {
        h = MatMul (x, w)
        wide = Expand (one, big)
        most = ReduceMax <keepdims = 0> (wide)
        y = Add (h, most)
    }"""
    with pytest.raises(UnsupportedModel, match="no memory") as caught:
        read_model(from_text(text).SerializeToString())
    assert caught.value.where == "wide"
