"""Networks for the serving benchmark, each dense and as a smaller file of a job's sort.

    mlp   784-300-10; shared: 180 of the inputs gathered, 45 hidden units
    cnn   LeNet-5 for 1 x 28 x 28: 20 and 50 channels, 500 hidden units; shared: 6, 12 and 40

The shared files are made here; a file of a real job can take their place. Weights are random.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, numpy_helper

Array = np.ndarray[Any, Any]
FORMS = ("dense", "shared")

_MLP = """
<ir_version: 10, opset_import: ["": 18]>
mlp (float[batch, 784] x) => (float[batch, 10] y) {{
    {gather}
    before = Gemm({used}, w0, b0)
    hidden = Relu(before)
    y = Gemm(hidden, w1, b1)
}}
"""

_CNN = """
<ir_version: 10, opset_import: ["": 18]>
cnn (float[batch, 1, 28, 28] x) => (float[batch, 10] y) {
    conv0 = Conv(x, w0, b0)
    relu0 = Relu(conv0)
    pool0 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(relu0)
    conv1 = Conv(pool0, w1, b1)
    relu1 = Relu(conv1)
    pool1 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(relu1)
    flat = Flatten(pool1)
    before = Gemm(flat, w2, b2)
    hidden = Relu(before)
    y = Gemm(hidden, w3, b3)
}
"""


@dataclass(frozen=True)
class Served:
    """One file as ONNX Runtime runs it on one thread: what every server must answer."""

    session: Any

    @classmethod
    def load(cls, path: Path) -> "Served":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return cls(onnxruntime.InferenceSession(path, options))

    @property
    def input(self) -> str:
        """Its name."""
        return str(self.session.get_inputs()[0].name)

    def samples(self, batch: int) -> Array:
        """The same ones each time, (batch, ...)."""
        shape = self.session.get_inputs()[0].shape[1:]
        return np.random.default_rng(0).random((batch, *shape), dtype=np.float32)

    def answer(self, x: Array) -> Array:
        y: Array = self.session.run(None, {self.input: x})[0]
        return y


def networks() -> Mapping[str, Mapping[str, ModelProto]]:
    """By name, then by form."""
    return {
        "mlp": {"dense": _mlp(784, 300), "shared": _gathered_mlp(180, 45)},
        "cnn": {"dense": _cnn(20, 50, 500), "shared": _cnn(6, 12, 40)},
    }


def write(name: str, folder: Path, shared: Path | None = None) -> Mapping[str, Served]:
    """Write FOLDER/FORM/1/model.onnx of each form; ``shared`` names the file of a real job."""
    served = {}
    for form, model in networks()[name].items():
        path = folder / form / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        if form == "shared" and shared is not None:
            path.write_bytes(shared.read_bytes())
        else:
            onnx.save(model, path)
        served[form] = Served.load(path)
    return served


def _mlp(inputs: int, hidden: int) -> ModelProto:
    graph = _MLP.format(gather="", used="x")
    return _with_weights(graph, [(inputs, hidden), (hidden, 10)])


def _gathered_mlp(kept: int, hidden: int) -> ModelProto:
    chosen = np.sort(np.random.default_rng(0).permutation(784)[:kept])
    graph = _MLP.format(gather="some = Gather<axis = 1>(x, kept)", used="some")
    return _with_weights(graph, [(kept, hidden), (hidden, 10)], kept=chosen)


def _cnn(first: int, second: int, hidden: int) -> ModelProto:
    convolutions = [(first, 1, 5, 5), (second, first, 5, 5)]
    return _with_weights(_CNN, [*convolutions, (second * 4 * 4, hidden), (hidden, 10)])


def _with_weights(graph: str, shapes: list[tuple[int, ...]], **constants: Array) -> ModelProto:
    """Random ``w0``, ``w1``, ... of these shapes, and zero ``b0``, ``b1``, ... beside them.

    A convolution's shape is (out, in, height, width), a product's (in, out).
    """
    rng, model = np.random.default_rng(0), onnx.parser.parse_model(graph)
    for index, shape in enumerate(shapes):
        fan_in, units = shape if len(shape) == 2 else (math.prod(shape[1:]), shape[0])
        scale = (2 / fan_in) ** 0.5
        constants[f"w{index}"] = rng.normal(0, scale, shape).astype(np.float32)
        constants[f"b{index}"] = np.zeros(units, dtype=np.float32)
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    model.graph.initializer.extend(stored)
    onnx.checker.check_model(model)
    return model
