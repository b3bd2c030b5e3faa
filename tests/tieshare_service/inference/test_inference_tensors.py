"""Protocol tensors and numpy arrays: exact both ways, and nothing half-right gets through."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tieshare_service.inference.datatypes import BY_NAME, BYTES, TABLE, Datatype
from tieshare_service.inference.errors import BadTensor
from tieshare_service.inference.tensors import to_array, to_bytes, to_json
from tieshare_service.inference.types import Array, TensorSpec


def _array(datatype: str, shape: list[int], data: list[Any] | bytes) -> Array:
    content = memoryview(data) if isinstance(data, bytes) else data
    return to_array(TensorSpec("x", BY_NAME[datatype], tuple(shape)), content)


def _arrays(datatype: Datatype) -> st.SearchStrategy[Any]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    if datatype is BYTES:
        texts = st.text(st.characters(codec="utf-8"), max_size=5)
        return hnp.arrays(object, shapes, elements=texts)
    elements = hnp.from_dtype(datatype.dtype, allow_nan=False, allow_infinity=False)
    return hnp.arrays(datatype.dtype, shapes, elements=elements)


@pytest.mark.parametrize("datatype", TABLE, ids=lambda datatype: datatype.name)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_bytes_and_json_come_back_as_they_went(datatype: Datatype, data: st.DataObject) -> None:
    values = data.draw(_arrays(datatype))
    text = orjson.dumps(to_json(values, datatype), option=orjson.OPT_SERIALIZE_NUMPY)
    forms = [to_bytes(values, datatype), orjson.loads(text)]
    if values.ndim:
        forms.append(values.tolist())
    for form in forms:
        back = _array(datatype.name, list(values.shape), form)
        assert back.dtype == values.dtype
        assert back.shape == values.shape
        assert back.tolist() == values.tolist()


def test_strings_keep_the_zero_bytes_that_numpy_would_strip() -> None:
    values = np.array(["a\0", "\0", ""], dtype=object)
    for form in (to_bytes(values, BYTES), to_json(values, BYTES)):
        assert isinstance(form, bytes | list)
        assert _array("BYTES", [3], form).tolist() == ["a\0", "\0", ""]


def test_bytes_are_not_copied_where_aligned() -> None:
    data = np.arange(4, dtype=np.float32).tobytes()
    back = _array("FP32", [4], data)
    assert back.__array_interface__["data"][0] == np.frombuffer(data, np.uint8).ctypes.data


def test_unaligned_bytes_give_an_aligned_array() -> None:
    data = b"\0" + np.arange(4, dtype=np.float32).tobytes()
    back = to_array(TensorSpec("x", BY_NAME["FP32"], (4,)), memoryview(data)[1:])
    assert back.flags.aligned
    assert back.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_json_true_and_false_count_as_one_and_zero() -> None:
    assert _array("FP32", [2], [True, 0.5]).tolist() == [1.0, 0.5]
    assert _array("BOOL", [3], [True, 0, 1]).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "reason"),
    [
        ("FP32", [2], [1.0], "1 elements; shape [2] of FP32 needs 2"),
        ("FP32", [2, 2], [[1.0, 2.0], [3.0]], "nested lists do not have this shape"),
        ("FP32", [2, 2], [[1.0, 2.0], 3.0], "nested lists do not have this shape"),
        ("FP32", [1], [[1.0]], "another type"),
        ("FP32", [1], [None], "another type"),
        ("FP32", [1], ["1"], "another type"),
        ("FP32", [1], [1e39], "out of range"),
        ("FP16", [1], [70000.0], "out of range"),
        ("INT8", [1], [128], "out of range"),
        ("UINT64", [1], [-1], "out of range"),
        ("INT32", [1], [1.0], "another type"),
        ("BOOL", [1], [2], "neither 0 nor 1"),
        ("BYTES", [1], [1], "not a string"),
        ("FP32", [2], b"\0" * 7, "7 bytes; shape [2] of FP32 needs 2 (8 bytes)"),
        ("FP32", [2], b"\0" * 9, "9 bytes"),
        ("BOOL", [2], b"\0\2", "neither 0 nor 1"),
        ("BYTES", [1], b"\1\0\0", "the last length is cut off"),
        ("BYTES", [1], b"\2\0\0\0a", "element 0 is cut off"),
        ("BYTES", [1], b"\1\0\0\0\xff", "element 0 is not UTF-8"),
        ("BYTES", [2], b"\1\0\0\0a", "1 elements"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    datatype: str, shape: list[int], data: list[Any] | bytes, reason: str
) -> None:
    with pytest.raises(BadTensor) as refused:
        _array(datatype, shape, data)
    assert refused.value.message.startswith("input 'x'")
    assert reason in refused.value.message
