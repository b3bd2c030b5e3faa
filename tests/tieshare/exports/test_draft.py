from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from tieshare.exports.draft import Draft

Build = Callable[..., ModelProto]
TWICE = "g (float[N,2] x) => (float[N,2] y) { h = Add(x, c) z = Mul(h, c) y = Identity(z) }"
C = np.array([1, 2], dtype=np.float32)


def test_an_untouched_draft_is_the_same_graph(build: Build) -> None:
    model = build(TWICE, c=C)
    made = Draft(model).model()
    assert [node.op_type for node in made.graph.node] == ["Add", "Mul", "Identity"]
    assert made.graph.input == model.graph.input
    assert made.graph.output == model.graph.output
    assert made.opset_import == model.opset_import
    assert made.ir_version == model.ir_version


def test_the_model_that_was_given_stays_as_it_is(build: Build) -> None:
    model = build(TWICE, c=C)
    before = model.SerializeToString()
    draft = Draft(model)
    draft.put("c", 2 * C)
    draft.nodes[0].name = "changed"
    draft.model()
    assert model.SerializeToString() == before


def test_words_that_running_does_not_need_are_left_out(build: Build) -> None:
    model = build(TWICE, c=C)
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "words"
    model.graph.initializer[0].doc_string = "words"
    model.graph.node[0].metadata_props.add(key="k", value="words")
    model.metadata_props.add(key="k", value="words")
    model.graph.value_info.append(helper.make_tensor_value_info("words", 1, [2]))
    assert b"words" not in Draft(model).model().SerializeToString()


def test_a_tensor_that_nothing_reads_is_not_stored(build: Build) -> None:
    made = Draft(build(TWICE, c=C, unread=np.zeros(1000, dtype=np.float32))).model()
    assert [tensor.name for tensor in made.graph.initializer] == ["c"]


def test_constant_nodes_become_stored_tensors(build: Build) -> None:
    made = Draft(
        build(
            "g (float[N,2] x) => (float[2,N] y)"
            "{ c = Constant<value = float[2] {1, 2}>() h = Add(x, c)"
            "  s = Constant<value_ints = [2, -1]>() y = Reshape(h, s) }"
        )
    ).model()
    assert [node.op_type for node in made.graph.node] == ["Add", "Reshape"]
    stored = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    assert stored["c"].tolist() == [1, 2]
    assert stored["s"].tolist() == [2, -1]
    assert stored["s"].dtype == np.int64


def test_unshare_gives_each_reader_its_own_copy_and_merge_takes_it_back(build: Build) -> None:
    draft = Draft(build(TWICE, c=C))
    draft.unshare(keep=set())
    apart = draft.model()
    assert [node.input[1] for node in apart.graph.node[:2]] == ["c", "c.2"]
    assert draft.array("c.2").tolist() == [1, 2]
    draft.merge()
    together = draft.model()
    assert [tensor.name for tensor in together.graph.initializer] == ["c"]
    assert [node.input[1] for node in together.graph.node[:2]] == ["c", "c"]


def test_unshare_leaves_what_is_to_be_kept(build: Build) -> None:
    draft = Draft(build(TWICE, c=C))
    draft.unshare(keep={"c"})
    assert draft.readers()["c"] == 2


def test_merge_keeps_equal_numbers_of_another_type_or_shape_apart(build: Build) -> None:
    draft = Draft(
        build(
            "g (float[N,2] x) => (float[N,2] y) { h = Add(x, a) i = Add(h, b) y = Add(i, c) }",
            a=C,
            b=C.reshape(1, 2),
            c=C.copy(),
        )
    )
    draft.merge()
    assert [t.name for t in draft.model().graph.initializer] == ["a", "b"]


def test_a_number_stays_a_number(build: Build) -> None:
    draft = Draft(build(TWICE, c=C))
    draft.put("c", np.array(3, dtype=np.float32))
    assert draft.array("c").shape == ()


def test_a_fresh_name_is_no_name_of_the_graph(build: Build) -> None:
    draft = Draft(build(TWICE, c=C))
    assert [draft.fresh(name) for name in ("x", "h", "c", "new", "new")] == [
        "x.2",
        "h.2",
        "c.2",
        "new",
        "new.2",
    ]


def test_nothing_is_called_like_a_stem_with_a_dot_behind_it(build: Build) -> None:
    draft = Draft(build(TWICE, c=C))
    assert draft.stem("c") == "c"
    draft.put("c.rows", C)
    assert draft.stem("c") == "c_2"


def test_ir_version_three_finds_its_tensors_among_the_inputs(build: Build) -> None:
    draft = Draft(build(TWICE, opset=7, ir_version=3, c=C))
    draft.put("c", np.ones((1, 2), dtype=np.float32))
    made = draft.model()
    onnx.checker.check_model(made, full_check=True)
    assert [value.name for value in made.graph.input] == ["x", "c"]


def test_later_ir_versions_do_not_let_callers_replace_a_tensor(build: Build) -> None:
    model = build(TWICE, c=C)
    model.graph.input.append(helper.make_tensor_value_info("c", 1, [2]))
    assert [value.name for value in Draft(model).model().graph.input] == ["x"]


def test_a_tensor_read_inside_a_subgraph_is_kept_and_counts_as_shared(build: Build) -> None:
    model = build(
        "g (float[N,2] x, bool p) => (float[N,2] y)"
        "{ h = Add(x, c) y = If(p) <"
        "  then_branch = t () => (float[N,2] a) { a = Add(h, c) },"
        "  else_branch = e () => (float[N,2] b) { b = Add(h, d) }> }",
        c=C,
        d=C + 1,
    )
    draft = Draft(model)
    draft.unshare(keep=set())
    made = draft.model()
    assert {tensor.name for tensor in made.graph.initializer} == {"c", "c.2", "d"}
    onnx.checker.check_model(made, full_check=True)
