"""One served version: what loads, what is refused and why."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tieshare_service.inference.errors import LoadFailed, RunFailed
from tieshare_service.inference.model import load

OPSET = '<ir_version: 9, opset_import: ["" : 17]>'


def _file(folder: Path, model: onnx.ModelProto | bytes | str) -> Path:
    if isinstance(model, str):
        model = onnx.parser.parse_model(OPSET + model)
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def test_a_loaded_model_names_its_inputs_and_outputs_and_has_run(
    tmp_path: Path, digits: onnx.ModelProto
) -> None:
    model = load(_file(tmp_path, digits), "digits", 3, threads=1)
    x, y = model.inputs["x"], model.outputs["y"]
    assert (model.name, model.version) == ("digits", 3)
    assert (x.datatype.name, x.shape) == ("FP32", (-1, 4))
    assert (y.datatype.name, y.shape) == ("FP32", (-1, 2))
    assert 0 < model.pace.expected(4) < 10


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [0, 1, 3, 64])
def test_outputs_are_onnx_runtimes_bit_for_bit(
    tmp_path: Path, digits: onnx.ModelProto, threads: int, batch: int
) -> None:
    path = _file(tmp_path, digits)
    x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    (y,) = load(path, "digits", 1, threads).run(["y"], {"x": x})
    assert y.shape == (batch, 2)
    assert y.tobytes() == expected.tobytes()


def test_the_first_run_tries_more_than_one_size_of_a_free_picture(tmp_path: Path) -> None:
    text = """
    conv (float[n, 1, h, w] x) => (float[n, 1, h2, w2] y)
    <float[1, 1, 3, 3] k = {1, 1, 1, 1, 1, 1, 1, 1, 1}> { y = Conv (x, k) }
    """
    model = load(_file(tmp_path, text), "conv", 1, 1)
    (y,) = model.run(["y"], {"x": np.ones((1, 1, 3, 3), np.float32)})
    assert y.tolist() == [[[[9.0]]]]


def test_strings_are_warmed_up_with_empty_ones(tmp_path: Path) -> None:
    model = load(
        _file(tmp_path, "s (string[n] x) => (string[n] y) { y = Identity (x) }"), "s", 1, 1
    )
    (y,) = model.run(["y"], {"x": np.array(["é"], dtype=object)})
    assert y.tolist() == ["é"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "No graph was found in the protobuf"),
        (b"not onnx", "protobuf parsing failed"),
        ("m (float[1] x) => (float[1] y) { y = NoSuchOperator (x) }", "NoSuchOperator"),
        (
            "m (float[n, 2] x) => (float[n] y) <int64[1] s = {7}> { y = Reshape (x, s) }",
            "the first run failed",
        ),
        ("m (seq(float[1]) x) => (seq(float[1]) y) { y = Identity (x) }", "input 'x' is a seq"),
        ("m (bfloat16[1] x) => (float[1] y) { y = Cast <to = 1> (x) }", "tensor(bfloat16)"),
    ],
    ids=["empty", "garbage", "operator", "first-run", "sequence", "bfloat16"],
)
def test_a_file_that_cant_be_served_says_why_without_a_path(
    tmp_path: Path, content: Any, reason: str
) -> None:
    with pytest.raises(LoadFailed) as refused:
        load(_file(tmp_path, content), "m", 1, 1)
    assert reason in refused.value.message
    assert str(tmp_path) not in refused.value.message
    assert "onnxruntime_src" not in refused.value.message


def test_a_missing_file_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"^model\.onnx can't be read: No such file or directory$"):
        load(tmp_path / "model.onnx", "m", 1, 1)


def test_weights_in_another_file_are_not_followed(tmp_path: Path) -> None:
    graph = onnx.parser.parse_graph(
        "m (float[1, 1] x) => (float[1, 1] y) <float[1, 1] w = {1}> { y = MatMul (x, w) }"
    )
    secret = tmp_path / "secret"
    secret.write_bytes(np.array([42], np.float32).tobytes())
    (weight,) = graph.initializer
    weight.ClearField("float_data")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    with pytest.raises(LoadFailed) as refused:
        load(_file(tmp_path, model), "m", 1, 1)
    assert str(tmp_path) not in refused.value.message


def test_a_run_that_fails_says_why_without_source_files(tmp_path: Path) -> None:
    text = "add (float[n] a, float[n] b) => (float[n] y) { y = Add (a, b) }"
    model = load(_file(tmp_path, text), "add", 1, 1)
    feeds = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}
    with pytest.raises(RunFailed) as refused:
        model.run(["y"], feeds)
    assert refused.value.message.startswith("model 'add' could not run on these inputs: ")
    assert "broadcast" in refused.value.message
    assert "/" not in refused.value.message
