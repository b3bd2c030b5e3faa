"""How many of the cases that ONNX publishes for its operators the trainable twin passes.

    python -m benchmarks.operators [OPERATOR ...]

Of ``onnx.backend.test``: the node tests with a float32 input and a float32 output, in the default
domain, without sequences, optionals, text and random generators, each in two ways: all inputs as
inputs, and all but the first float32 one stored in the model. ONNX's own evaluator runs beside
them. Then the models converted from PyTorch and the simple ones, in the default domain, of tensors
of numbers. A case passes within its own tolerances, with the right shapes and dtypes. What fails is
listed by name.
"""

import argparse
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import onnx
import torch
from benchmarks.machine import machine
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

from tieshare import twin
from tieshare.twin.dtypes import as_array, as_tensor

Array = NDArray[Any]
Failure = Callable[["Case"], str | None]
KINDS = ("simple", "pytorch-converted", "pytorch-operator")
_CHANCE = ("Bernoulli", "Multinomial", "Random")


@dataclass(frozen=True, eq=False)
class Case:
    """A model, its inputs in order, and the outputs that are expected of it."""

    name: str
    operator: str
    model: ModelProto
    inputs: Sequence[Array]
    outputs: Sequence[Array]
    rtol: float
    atol: float


def node_cases() -> Iterator[Case]:
    """The node tests that the twin is meant for."""
    for case in load_model_tests(kind="node"):
        model = case.model
        if "_expanded" in case.name or model is None or not case.data_sets:
            continue
        if not _is_of_numbers(model) or not _has_floats(model):
            continue
        inputs, outputs = (list(map(_array, values)) for values in case.data_sets[0])
        operator = model.graph.node[0].op_type
        yield Case(case.name, operator, model, inputs, outputs, case.rtol, case.atol)


def model_cases(kind: str) -> Iterator[Case]:
    """Those of whole models, of one of KINDS."""
    for case in load_model_tests(kind=kind):
        folder = Path(str(case.model_dir))
        model = onnx.load(folder / "model.onnx")
        if _is_of_numbers(model):
            weights = {item.name for item in model.graph.initializer}
            fed = sum(item.name not in weights for item in model.graph.input)
            inputs = _stored(folder, "input", fed)
            outputs = _stored(folder, "output", len(model.graph.output))
            yield Case(case.name, kind, model, inputs, outputs, case.rtol, case.atol)


def stored(case: Case) -> Case:
    """The same case with all but the first float32 input among the initializers."""
    model = ModelProto()
    model.CopyFrom(case.model)
    fed: list[Array] = []
    floats = 0
    for item, array in zip(case.model.graph.input, case.inputs, strict=True):
        floats += array.dtype == np.float32
        if array.dtype == np.float32 and floats > 1:
            model.graph.initializer.append(numpy_helper.from_array(array, item.name))
            model.graph.input.remove(item)
        else:
            fed.append(array)
    return replace(case, model=model, inputs=fed)


def failure(case: Case) -> str | None:
    """Why the twin does not compute what is expected; None where it does."""
    try:
        with torch.no_grad():
            found = twin.from_onnx(case.model)(*map(as_tensor, case.inputs))
        results = [as_array(result) for result in (found if isinstance(found, tuple) else (found,))]
    except Exception as error:
        return _reason(error)
    return _difference(results, case)


def reference_failure(case: Case) -> str | None:
    """The same for ONNX's own evaluator."""
    names = [item.name for item in case.model.graph.input]
    feeds = dict(zip(names, case.inputs, strict=True))
    try:
        results = list(ReferenceEvaluator(case.model).run(None, feeds))
    except Exception as error:
        return _reason(error)
    return _difference(results, case)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def _difference(results: Sequence[Any], case: Case) -> str | None:
    if len(results) != len(case.outputs):
        return f"{len(results)} outputs, not {len(case.outputs)}"
    for index, (result, expected) in enumerate(zip(results, case.outputs, strict=True)):
        found = np.asarray(result)
        kinds = [f"{array.dtype} {array.shape}" for array in (found, expected)]
        if kinds[0] != kinds[1]:
            return f"output {index} is {kinds[0]}, not {kinds[1]}"
        if not np.allclose(found, expected, rtol=case.rtol, atol=case.atol, equal_nan=True):
            return f"output {index} differs by {np.abs(found.astype(float) - expected).max():.2e}"
    return None


def _is_of_numbers(model: ModelProto) -> bool:
    """Whether it is of tensors of numbers, by operators of the default domain, without chance."""
    for item in (*model.graph.input, *model.graph.output):
        if item.type.tensor_type.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
            return False
    return all(
        node.domain in ("", "ai.onnx")
        and not node.op_type.startswith((*_CHANCE, "Optional"))
        and ("Sequence" not in node.op_type or node.op_type == "ReverseSequence")
        for node in model.graph.node
    )


def _has_floats(model: ModelProto) -> bool:
    """Whether an input and an output are of float32."""
    return all(
        TensorProto.FLOAT in [item.type.tensor_type.elem_type for item in items]
        for items in (model.graph.input, model.graph.output)
    )


def _array(value: Any) -> Array:
    """Where numpy lacks the dtype, onnx has the values as a tensor."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _stored(folder: Path, kind: str, count: int) -> list[Array]:
    files = [folder / "test_data_set_0" / f"{kind}_{index}.pb" for index in range(count)]
    return [numpy_helper.to_array(TensorProto.FromString(file.read_bytes())) for file in files]


def _families() -> dict[str, str]:
    """Operator -> the file of the twin that it is in."""
    found = {}
    for info in iter_modules(twin.__path__):
        module = import_module(f"tieshare.twin.{info.name}")
        found.update(dict.fromkeys(getattr(module, "BUILDERS", ()), info.name))
    return found


def _print_row(name: str, cases: Sequence[Case], failures: Iterable[dict[str, str]]) -> None:
    counts = [sum(case.name not in failed for case in cases) for failed in failures]
    print(f"{name:<20}{len(cases):>8}" + "".join(f"{count:>12}" for count in counts))


def _print_failures(way: str, failed: dict[str, str]) -> None:
    for name, why in failed.items():
        print(f"  {name}, {way}: {why}")


def _failures(cases: Iterable[Case], run: Failure) -> dict[str, str]:
    return {case.name: why for case in cases if (why := run(case)) is not None}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators")
    parser.add_argument("operators", nargs="*", help="these alone")
    operators = parser.parse_args().operators
    warnings.simplefilter("ignore")
    print(machine("torch", "onnx", "numpy"))
    cases = [case for case in node_cases() if not operators or case.operator in operators]
    ways = {
        "as inputs": _failures(cases, failure),
        "stored": _failures(map(stored, cases), failure),
        "ONNX's": _failures(cases, reference_failure),
    }
    print(f"{'node tests':<20}{'cases':>8}" + "".join(f"{way:>12}" for way in ways))
    families = _families()
    names = {case.name: families.get(case.operator, "control") for case in cases}
    for family in sorted(set(names.values())):
        of_family = [case for case in cases if names[case.name] == family]
        _print_row(family, of_family, ways.values())
    _print_row("all", cases, ways.values())
    for way, failed in ways.items():
        _print_failures(way, failed)
    for kind in KINDS if not operators else ():
        chosen = list(model_cases(kind))
        failed = _failures(chosen, failure)
        _print_row(kind, chosen, [failed])
        _print_failures(kind, failed)


if __name__ == "__main__":
    main()
