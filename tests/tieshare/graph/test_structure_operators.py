"""Every operator in the cases that ONNX publishes: what nobody reads of its inputs may go."""

from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
from benchmarks.operators import Case, node_cases
from onnx import ModelProto, helper, numpy_helper

from tieshare.exports.prune import remove_dead_units
from tieshare.graph import tensors

Array = np.ndarray

# Random masks; and sums and extremes of nothing, which are not finite, so that zeros do not hide
# them.
_LEFT_OUT = ("training_dropout", "empty_set")


def _read_along_one_axis(case: Case, rng: np.random.Generator, changed: bool) -> ModelProto | None:
    """The case with its float inputs stored, and a weight that reads each output along an axis.

    Half of the weight's rows are zero. Where ``changed``, the operator reads the first input
    behind another one, and not as a weight. None where no output has an axis longer than 1.
    """
    model = ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    nodes, named = list(graph.node), list(zip(graph.input, case.inputs, strict=True))
    for place, (item, array) in enumerate(named):
        stored = f"{item.name}.stored"
        if array.dtype == np.float32 and array.ndim and not ("Resize" in case.operator and place):
            operator = "Abs" if changed and not place else "Identity"
            nodes.insert(0, helper.make_node(operator, [stored], [item.name]))
            graph.initializer.append(numpy_helper.from_array(array, stored))
        else:
            graph.initializer.append(numpy_helper.from_array(array, item.name))
    del graph.input[:]
    outputs = [item.name for item in graph.output]
    del graph.output[:]
    for name, array in zip(outputs, case.outputs, strict=True):
        long = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
        if not name or not array.size or not long or array.dtype.kind not in "fiub":
            continue
        axis = int(rng.choice(long))
        last = [other for other in range(array.ndim) if other != axis] + [axis]
        weight = rng.normal(size=(array.shape[axis], 2)).astype(np.float32)
        weight[rng.permutation(len(weight))[: len(weight) // 2]] = 0
        graph.initializer.append(numpy_helper.from_array(weight, f"{name}.weight"))
        nodes += [
            helper.make_node("Cast", [name], [f"{name}.float"], to=1),
            helper.make_node("Transpose", [f"{name}.float"], [f"{name}.turned"], perm=last),
            helper.make_node("MatMul", [f"{name}.turned", f"{name}.weight"], [f"{name}.read"]),
        ]
        graph.output.append(helper.make_tensor_value_info(f"{name}.read", 1, None))
    del graph.node[:]
    graph.node.extend(nodes)
    return model if graph.output else None


def _run(model: ModelProto) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(output) for output in session.run(None, {})]


def _runs(model: ModelProto) -> bool:
    """Whether ONNX Runtime has the operator at its opset and for its types."""
    try:
        _run(model)
    except Exception:
        return False
    return True


def _models() -> Iterator[tuple[str, str, ModelProto]]:
    for number, case in enumerate(node_cases()):
        if any(part in case.name for part in _LEFT_OUT):
            continue
        for changed in (False, True):
            model = _read_along_one_axis(case, np.random.default_rng(number), changed)
            if model is not None and _runs(model):
                yield f"{case.name}, {changed}", case.operator, model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_behind_every_operator_what_is_cut_off_was_not_seen() -> None:
    checked, cut, wrong = 0, set(), []
    for name, operator, model in _models():
        slim = remove_dead_units(model)
        pairs = zip(_run(slim), _run(model), strict=True)
        same = [
            a.shape == b.shape and np.allclose(a, b, 1e-3, 1e-3, equal_nan=True) for a, b in pairs
        ]
        checked += 1
        if not all(same):
            wrong.append(name)
        if _numbers(slim) < _numbers(model):
            cut.add(operator)
    assert wrong == []
    assert checked >= 1200
    assert len(cut) >= 80


def _numbers(model: ModelProto) -> int:
    return sum(array.size for array in tensors(model).values())
