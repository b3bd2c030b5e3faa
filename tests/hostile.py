"""Files that want to do harm: ``python -m tests.hostile FOLDER`` writes them all.

Each is a file that a stranger might upload, with the types of problem that may refuse it. None of
them is large: what they ask for is.
"""

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.helper import make_node

F, I64 = TensorProto.FLOAT, TensorProto.INT64
HUGE = 1 << 40
BAD = "model-not-onnx"
NO = "model-unsupported"
OPERATOR = "model-unsupported-operator"
COSTLY = "model-too-costly"
OUTSIDE = "model-external-data"
NPZ, ARRAY = "dataset-not-npz", "dataset-bad-array"


@dataclass(frozen=True)
class Hostile:
    """One file; ``kind`` is models or datasets, ``types`` what may refuse it."""

    name: str
    kind: str
    content: bytes
    types: tuple[str, ...]


def digits() -> ModelProto:
    """A harmless model: 4 inputs, 6 hidden units, 3 classes."""
    random = np.random.default_rng(0)
    shapes = {"w1": (4, 6), "b1": (6,), "w2": (6, 3), "b2": (3,)}
    nodes = [
        make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        make_node("Relu", ["h"], ["a"], name="relu"),
        make_node("Gemm", ["a", "w2", "b2"], ["logits"], name="second"),
    ]
    stored = [
        numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    ends = [helper.make_tensor_value_info("x", F, ["n", 4])]
    outs = [helper.make_tensor_value_info("logits", F, ["n", 3])]
    graph = helper.make_graph(nodes, "digits", ends, outs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def samples(seed: int, count: int) -> bytes:
    """Of three classes, for it."""
    file = io.BytesIO()
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    np.savez(file, x=x, y=np.arange(count) % 3)
    return file.getvalue()


def elsewhere(tensor: TensorProto, location: str) -> TensorProto:
    """The tensor with its values in another file."""
    for field in ("raw_data", "float_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def _of(values: Any, name: str = "t") -> TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def external() -> Iterator[tuple[str, ModelProto]]:
    """Weights in other files, in all places that a tensor may be in."""
    places = {"above": "../secret", "absolute": "/etc/passwd", "here": "w.bin", "null": "a\0b"}
    for how, location in places.items():
        model = digits()
        elsewhere(model.graph.initializer[0], location)
        yield how, model

    model = digits()
    model.graph.node.insert(0, make_node("Constant", [], ["c"], value=_outside()))
    yield "constant", model

    model = digits()
    attribute = onnx.AttributeProto(name="all", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(_outside())
    model.graph.node[1].attribute.append(attribute)
    yield "attribute-list", model

    for part in ("values", "indices"):
        model = digits()
        sparse = model.graph.sparse_initializer.add(dims=[4, 6])
        sparse.values.CopyFrom(_of(np.ones(1, np.float32), "s"))
        sparse.indices.CopyFrom(_of(np.zeros(1, np.int64), "i"))
        elsewhere(getattr(sparse, part), "../secret")
        yield f"sparse-{part}", model

    model = digits()
    inner = helper.make_graph(
        [make_node("Identity", ["t"], ["o"])],
        "then",
        [],
        [helper.make_tensor_value_info("o", F, [4, 6])],
        [_outside()],
    )
    model.graph.initializer.append(_of(np.array(True), "yes"))
    model.graph.node.append(
        make_node("If", ["yes"], ["unused"], then_branch=inner, else_branch=inner)
    )
    yield "subgraph", model

    model = digits()
    body = [make_node("Constant", [], ["o"], value=_outside())]
    function = helper.make_function("local", "f", [], ["o"], body, [helper.make_opsetid("", 20)])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    yield "function", model

    model = digits()
    training = model.training_info.add()
    training.initialization.initializer.append(_outside())
    yield "training-info", model


def _outside() -> TensorProto:
    return elsewhere(_of(np.ones((4, 6), np.float32)), "/etc/passwd")


def giants() -> Iterator[tuple[str, ModelProto]]:
    """Small graphs whose tensors are beyond all memory."""
    for name, (stored, nodes) in _grown().items():
        model = digits()
        model.graph.initializer.extend(stored)
        for node in reversed(nodes):
            model.graph.node.insert(0, node)
        model.graph.node[-1].output[0] = "before"
        model.graph.node.append(make_node("ReduceMax", ["g"], ["m"], keepdims=0))
        model.graph.node.append(make_node("Add", ["before", "m"], ["logits"]))
        yield name, model
    for name, dims in (
        ("dims-overflow", [HUGE, HUGE]),
        ("dims-huge", [HUGE, 6]),
        ("dims-negative", [-4, 6]),
        ("dims-wrap", [1 << 62, 4]),
        ("dims-endless", [1] * 100_000),
    ):
        model = digits()
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        yield name, model
    model = digits()
    sparse = model.graph.sparse_initializer.add(dims=[HUGE, HUGE])
    sparse.values.CopyFrom(_of(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(_of(np.zeros(1, np.int64), "i"))
    yield "sparse", model


def _grown() -> dict[str, tuple[list[TensorProto], list[onnx.NodeProto]]]:
    """What is stored, and the nodes that make a giant, g, of it."""
    shape = _of(np.array([HUGE, HUGE], np.int64), "big")
    one = _of(np.ones((1, 1), np.float32), "one")
    numbers = [_of(np.array(v, np.int64), n) for n, v in (("from", 0), ("to", HUGE), ("by", 1))]
    pads = _of(np.array([HUGE, HUGE, 0, 0], np.int64), "pads")
    depth = [
        _of(np.zeros((1,), np.int64), "where"),
        _of(np.array(HUGE, np.int64), "depth"),
        _of(np.array([0, 1], np.float32), "both"),
    ]
    counted = [
        make_node("Range", ["from", "to", "by"], ["r"]),
        make_node("Cast", ["r"], ["g"], to=F),
    ]
    return {
        "constant-of-shape": ([shape], [make_node("ConstantOfShape", ["big"], ["g"])]),
        "expand": ([shape, one], [make_node("Expand", ["one", "big"], ["g"])]),
        "tile": ([shape, one], [make_node("Tile", ["one", "big"], ["g"])]),
        "range": (numbers, counted),
        "one-hot": (depth, [make_node("OneHot", ["where", "depth", "both"], ["g"])]),
        "pad": ([one, pads], [make_node("Pad", ["one", "pads"], ["g"])]),
        "resize": ([one, shape], [make_node("Resize", ["one", "", "", "big"], ["g"])]),
    }


def tangles() -> Iterator[tuple[str, ModelProto]]:
    """Graphs that are endless to walk, to inline or to run."""
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    model = digits()
    model.opset_import.append(opset[1])
    leaf = [make_node("Relu", ["i"], ["o"])]
    model.functions.append(helper.make_function("local", "f0", ["i"], ["o"], leaf, opset))
    for level in range(1, 40):
        twice = [
            make_node(f"f{level - 1}", ["i"], ["m"], domain="local"),
            make_node(f"f{level - 1}", ["m"], ["o"], domain="local"),
        ]
        function = helper.make_function("local", f"f{level}", ["i"], ["o"], twice, opset)
        model.functions.append(function)
    model.graph.node[1].CopyFrom(make_node("f39", ["h"], ["a"], domain="local"))
    yield "functions-doubling", model

    model = digits()
    model.opset_import.append(opset[1])
    for name, other in (("f", "g"), ("g", "f")):
        body = [make_node(other, ["i"], ["o"], domain="local")]
        model.functions.append(helper.make_function("local", name, ["i"], ["o"], body, opset))
    model.graph.node[1].CopyFrom(make_node("f", ["h"], ["a"], domain="local"))
    yield "functions-in-a-ring", model

    model = digits()
    model.graph.node[0].input[0] = "a"
    yield "ring", model

    model = digits()
    model.graph.node[0].name = model.graph.name = "n" * (1 << 24)
    model.graph.node[1].input[0] = "m" * (1 << 24)
    yield "endless-names", model

    model = digits()
    most, go = _of(np.array(1 << 62, np.int64), "most"), _of(np.array(True), "go")
    model.graph.initializer.extend([most, go])
    turn = helper.make_graph(
        [
            make_node("Identity", ["c"], ["c2"]),
            make_node("Relu", ["v"], ["v2"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", I64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", F, None),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", F, None),
        ],
    )
    model.graph.node[1].CopyFrom(make_node("Loop", ["most", "go", "h"], ["a"], body=turn))
    yield "endless-loop", model


def garbled() -> Iterator[tuple[str, bytes]]:
    """Bytes that are almost a model."""
    whole = digits().SerializeToString()
    for part in (1, 2, 7):
        yield f"cut-{part}", whole[: len(whole) * part // 8]
    random = np.random.default_rng(0)
    for number in range(4):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 40):
            damaged[place] = int(random.integers(256))
        yield f"flipped-{number}", bytes(damaged)
    # Groups within groups: field 7, the graph, a thousand times.
    nested = b""
    for _ in range(5000):
        nested = b"\x3a" + _varint(len(nested)) + nested
    yield "nested-messages", nested
    yield "length-lies", b"\x3a" + _varint(1 << 40) + whole
    yield "varint-without-end", b"\xff" * 100


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def arrays() -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Archives that lie, unpack without end, or name files elsewhere."""
    x, y = _npy(np.zeros((60, 4), np.float32)), _npy(np.arange(60) % 3)
    both = {"x.npy": x, "y.npy": y}
    header = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
    for name, descr, shape in (
        ("shape-huge", "<f4", f"({HUGE}, {HUGE})"),
        ("shape-wraps", "<f4", f"({1 << 62}, 4)"),
        ("shape-negative", "<f4", "(-60, 4)"),
        ("shape-of-text", "<f4", "('60', 4)"),
        ("shape-endless", "<f4", "(" + "1, " * 3000 + ")"),
        ("shape-is-code", "<f4", "__import__('os').system('true')"),
        ("shape-deep", "<f4", "(" * 3000 + ")" * 3000),
        ("dtype-object", "|O", "(60,)"),
        ("dtype-code", "__import__('os')", "(60,)"),
        ("dtype-record", "V100000000", "(60,)"),
    ):
        lying = _headed(header.format(descr, shape)) + bytes(960)
        yield name, _zip({**both, "x.npy": lying}), (NPZ, ARRAY)
    yield "object-array", _zip({**both, "x.npy": _npy(np.array([{}], object))}), (NPZ, ARRAY)
    bomb = _headed(header.format("<f4", f"({1 << 31}, 4)"))
    yield "ratio", _zip({**both, "x.npy": bomb + bytes(1 << 26)}), (NPZ, ARRAY)
    for name in ("../x.npy", "/x.npy", "x/../../y.npy", "C:\\x.npy", "x\0.npy", "n" * 60_000):
        yield f"name-{name[:8]!r}", _zip({**both, name: x}), (NPZ, ARRAY)
    yield "many-files", _zip({f"{i}.npy": x for i in range(5000)}), (NPZ, ARRAY)
    whole = _zip(both)
    yield "cut", whole[: len(whole) // 2], (NPZ,)
    yield "no-archive", b"PK\x03\x04" + bytes(1000), (NPZ,)
    yield "overlapping", _overlapping(x), (NPZ, ARRAY)
    lies = bytearray(whole)
    at = lies.rindex(b"PK\x01\x02")
    lies[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    yield "directory-lies", bytes(lies), (NPZ, ARRAY)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _headed(text: str) -> bytes:
    raw = text.encode("latin-1")
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(raw) + 1) + raw + b"\n"


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name[:65_000]), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _overlapping(x: bytes) -> bytes:
    """Fifty entries of one file's bytes."""
    packed = zlib.compress(x, 9)[2:-4]
    local = struct.pack(
        "<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, zlib.crc32(x), len(packed), len(x), 5, 0
    )
    start = local + b"x.npy" + packed
    entries = b""
    for number in range(50):
        name = f"x{number}.npy".encode()
        entries += struct.pack(
            "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, zlib.crc32(x), len(packed), len(x),
            len(name), 0, 0, 0, 0, 0, 0,
        ) + name  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 50, 50, len(entries), len(start), 0)
    return start + entries + end


def everything() -> Iterator[Hostile]:
    """All files; each is built when it is asked for."""
    groups: tuple[tuple[str, Callable[[], Iterator[tuple[str, ModelProto]]], tuple[str, ...]], ...]
    groups = (
        ("external", external, (OUTSIDE, BAD)),
        ("giant", giants, (BAD, NO, OPERATOR, COSTLY)),
        ("tangle", tangles, (BAD, NO, OPERATOR, COSTLY)),
    )
    for group, made, refusals in groups:
        for name, model in made():
            yield Hostile(f"{group}-{name}", "models", model.SerializeToString(), refusals)
    for name, content in garbled():
        yield Hostile(f"garbled-{name}", "models", content, (BAD, NO, OPERATOR, OUTSIDE))
    for name, content, types in arrays():
        yield Hostile(f"array-{name}", "datasets", content, types)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(everything()):
        (folder / f"{number:03d}.{item.kind}").write_bytes(item.content)
        print(f"{number:03d}  {item.name}  {len(item.content):,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
