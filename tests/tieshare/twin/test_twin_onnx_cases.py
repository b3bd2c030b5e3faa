"""The cases that ONNX itself publishes: the twin passes them in both ways."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.operators import KINDS, Case, failure, model_cases, node_cases, stored
from onnx import parser

# What these expect where the answer is 0 is numpy's rounding in float32, which is larger than their
# own tolerance: an exact answer fails them, and so does ONNX Runtime.
ROUNDING = ("test_dft_inverse", "test_dft_inverse_opset19")


def _both_ways() -> Iterator[tuple[str, Case]]:
    for case in node_cases():
        yield case.name, case
        yield f"{case.name}, stored", stored(case)
    for kind in KINDS:
        for case in model_cases(kind):
            yield f"{kind}: {case.name}", case


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_cases_pass_with_inputs_as_inputs_and_stored_in_the_model() -> None:
    cases = dict(_both_ways())
    failures = {name: why for name, case in cases.items() if (why := failure(case))}
    assert [name for name in failures if not name.startswith(ROUNDING)] == []
    assert len(cases) >= 2 * 795 + 7 + 82 + 35


def _case(*outputs: np.ndarray) -> Case:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        sum (float[2] a, int64[2] b, float[2] c) => (float[2] y) {
            f = Cast <to = 1> (b)
            d = Add (a, f)
            y = Add (d, c)
        }""")
    a, b = np.ones(2, dtype=np.float32), np.arange(2)
    return Case("sum", "Add", model, [a, b, 2 * a], outputs, rtol=1e-3, atol=1e-7)


def test_a_case_fails_over_values_shapes_dtypes_and_errors() -> None:
    right = np.array([3, 4], dtype=np.float32)
    assert failure(_case(right)) is None
    assert failure(_case(right + 1)) == "output 0 differs by 1.00e+00"
    assert failure(_case(right[:1])) == "output 0 is float32 (2,), not float32 (1,)"
    assert failure(_case(right.astype(float))) == "output 0 is float32 (2,), not float64 (2,)"
    assert failure(_case(right, right)) == "1 outputs, not 2"
    assert str(failure(replace(_case(right), inputs=[]))).startswith("TypeError: the graph has 3")


def test_all_but_the_first_float_input_are_stored() -> None:
    case = stored(_case(np.array([3, 4], dtype=np.float32)))
    assert [item.name for item in case.model.graph.input] == ["a", "b"]
    assert [item.name for item in case.model.graph.initializer] == ["c"]
    assert len(case.inputs) == 2
    assert failure(case) is None
