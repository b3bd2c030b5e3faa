"""Small networks in every dialect that the library reads, made once a test session.

NETWORKS      name -> how it is made: torch networks by each exporter, with a free and with a
              fixed batch; Keras-style graphs; scikit-learn models; weights in Constant nodes
network(name) the ONNX model, a copy of one that is made once
from_text     a model from ONNX text, its declared but unset tensors filled at random
"""

import io
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np
import onnx
import torch
from onnx import ModelProto, helper, numpy_helper, parser
from torch import nn


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))


def mlp_bn() -> nn.Module:
    hidden = nn.Linear(784, 300), nn.ReLU(), nn.BatchNorm1d(300)
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(300, 10))


def lenet5() -> nn.Module:
    features = nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)
    classes = nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)
    return nn.Sequential(*features, nn.Flatten(), *classes)


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 8), (8, 8), (8, 12)):
        conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if before == 8 else []
    classes = nn.Linear(192, 20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, 10)
    return nn.Sequential(*layers, nn.Flatten(), *classes)


def sequence() -> nn.Module:
    """Linear layers on a 3-D input: exporters write MatMul and Add."""
    return nn.Sequential(nn.Linear(6, 9), nn.SiLU(), nn.Linear(9, 4))


class Signal(nn.Module):
    """1-D convolution and a shape that is computed from the input's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 5, stride=2, padding=2)
        self.pool = nn.AvgPool1d(3, 2, ceil_mode=True)
        self.dense = nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(nn.functional.gelu(self.conv(x)))  # (N, 6, 8)
        return torch.log_softmax(self.dense(x.view(x.size(0), -1)), dim=1)


def volume() -> nn.Module:
    conv = nn.Conv3d(1, 4, 3), nn.PReLU(4), nn.AdaptiveAvgPool3d(1)
    return nn.Sequential(*conv, nn.Flatten(), nn.Linear(4, 3), nn.Sigmoid())


INPUTS: Mapping[Callable[[], nn.Module], tuple[int, ...]] = {
    mlp: (1, 28, 28),
    mlp_bn: (1, 28, 28),
    lenet5: (1, 28, 28),
    vgg: (3, 16, 16),
    sequence: (5, 6),
    Signal: (2, 31),
    volume: (1, 5, 5, 5),
}


def export(
    make: Callable[[], nn.Module], *, dynamo: bool, free: bool, fold: bool = True
) -> ModelProto:
    """One of torch's exporters; the batch is free, or fixed at 7."""
    torch.manual_seed(0)
    module = make().eval()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            _live(layer)
    x = torch.randn(7, *INPUTS[make])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(
                module,
                (x,),
                dynamo=True,
                verbose=False,
                input_names=["x"],
                output_names=["y"],
                dynamic_shapes=({0: torch.export.Dim("batch")},) if free else None,
            )
            assert program is not None
            return program.model_proto
        file = io.BytesIO()
        torch.onnx.export(
            module,
            (x,),
            file,  # type: ignore[arg-type]
            dynamo=False,
            do_constant_folding=fold,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}} if free else None,
        )
    return onnx.load_model_from_string(file.getvalue())


def _live(layer: nn.modules.batchnorm._BatchNorm) -> None:
    """Statistics as training leaves them; exporters store equal tensors once."""
    with torch.no_grad():
        for tensor in (layer.weight, layer.running_var):
            tensor.uniform_(0.5, 2)  # type: ignore[union-attr]
        for tensor in (layer.bias, layer.running_mean):
            tensor.normal_()  # type: ignore[union-attr]


def from_text(text: str, seed: int = 0) -> ModelProto:
    """Parse ONNX text; a tensor declared between < and > without a value is filled at random."""
    model = parser.parse_model(text)
    rng = np.random.default_rng(seed)
    made = {value for node in model.graph.node for value in node.output}
    for item in list(model.graph.value_info):
        if item.name not in made:
            shape = [dim.dim_value for dim in item.type.tensor_type.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
            values = rng.uniform(0.1, 1, shape) * rng.choice([-1, 1], shape)
            if item.name.startswith("var"):
                values = np.abs(values)
            model.graph.initializer.append(numpy_helper.from_array(values.astype(dtype), item.name))
            model.graph.value_info.remove(item)
    return model


def keras_mlp() -> ModelProto:
    return from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        keras_mlp (float[unk, 4, 5] x) => (float[unk, 3] probabilities)
        <int64[2] flat = {-1, 20}, float[20, 8] w1, float[8] b1, float[8, 3] w2, float[3] b2> {
            x2 = Reshape (x, flat)
            m1 = MatMul (x2, w1)
            a1 = Add (m1, b1)
            h1 = Tanh (a1)
            m2 = MatMul (h1, w2)
            a2 = Add (m2, b2)
            probabilities = Softmax (a2)
        }
    """)


def keras_cnn() -> ModelProto:
    """NHWC outside, NCHW inside; flattened in the order H, W, C."""
    return from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        keras_cnn (float[unk, 9, 9, 2] x) => (float[unk, 3] probabilities)
        <float[4, 2, 3, 3] k1, float[4] c1, float[6, 4, 2, 2] k2, float[6] c2,
         float[6] gamma, float[6] beta, float[6] mean, float[6] var,
         int64[2] flat = {-1, 54}, float[54, 3] w, float[3] b> {
            nchw = Transpose <perm = [0, 3, 1, 2]> (x)
            f1 = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3]> (nchw, k1, c1)
            r1 = Relu (f1)
            p1 = MaxPool <auto_pad = "SAME_UPPER", kernel_shape = [2, 2], strides = [2, 2]> (r1)
            f2 = Conv <auto_pad = "SAME_UPPER", kernel_shape = [2, 2], strides = [2, 2]>
                (p1, k2, c2)
            n2 = BatchNormalization <epsilon = 0.001> (f2, gamma, beta, mean, var)
            r2 = Elu (n2)
            nhwc = Transpose <perm = [0, 2, 3, 1]> (r2)
            x2 = Reshape (nhwc, flat)
            m = MatMul (x2, w)
            a = Add (m, b)
            probabilities = Softmax (a)
        }
    """)


def constant_nodes() -> ModelProto:
    """The weights of an MLP as values of Constant nodes."""
    stored = from_text("""
        <ir_version: 8, opset_import: ["" : 13]>
        constants (float[batch, 6] x) => (float[batch, 3] y)
        <float[5, 6] w1, float[5] b1, float[5, 3] w2> {
            h = Gemm <transB = 1> (x, w1, b1)
            r = Relu (h)
            y = MatMul (r, w2)
        }
    """)
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in stored.graph.initializer]
    nodes += stored.graph.node
    del stored.graph.initializer[:], stored.graph.node[:]
    stored.graph.node.extend(nodes)
    return stored


def sklearn(kind: str) -> ModelProto:
    """An MLPClassifier or MLPRegressor by skl2onnx, without ZipMap."""
    from skl2onnx import to_onnx  # noqa: PLC0415 - slow to import, and few tests need it
    from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)).astype(np.float32)
    hidden = {"hidden_layer_sizes": (8, 6), "max_iter": 3, "random_state": 0}
    scaled = make_pipeline(StandardScaler(), MLPClassifier(**hidden))
    estimator, y = {
        "classifier": (MLPClassifier(**hidden), rng.integers(0, 3, 60)),
        "binary": (MLPClassifier(activation="tanh", **hidden), rng.integers(0, 2, 60)),
        "multilabel": (MLPClassifier(**hidden), rng.integers(0, 2, (60, 3))),
        "regressor": (MLPRegressor(activation="logistic", **hidden), rng.normal(size=60)),
        "scaled": (scaled, rng.integers(0, 3, 60)),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, y)
        options = {} if kind == "regressor" else {"zipmap": False}
        model = to_onnx(estimator, X[:1], target_opset=17, options=options or None)
    assert isinstance(model, ModelProto)
    return model


NETWORKS: Mapping[str, Callable[[], ModelProto]] = {
    "mlp-dynamo-free": partial(export, mlp, dynamo=True, free=True),
    "mlp-dynamo-fixed": partial(export, mlp, dynamo=True, free=False),
    "mlp-script-free": partial(export, mlp, dynamo=False, free=True),
    "mlp-script-fixed": partial(export, mlp, dynamo=False, free=False),
    "mlp_bn-dynamo-free": partial(export, mlp_bn, dynamo=True, free=True),
    "mlp_bn-script-free": partial(export, mlp_bn, dynamo=False, free=True),
    "lenet5-dynamo-free": partial(export, lenet5, dynamo=True, free=True),
    "lenet5-dynamo-fixed": partial(export, lenet5, dynamo=True, free=False),
    "lenet5-script-free": partial(export, lenet5, dynamo=False, free=True),
    "lenet5-script-fixed": partial(export, lenet5, dynamo=False, free=False),
    "vgg-dynamo-free": partial(export, vgg, dynamo=True, free=True),
    "vgg-script-free": partial(export, vgg, dynamo=False, free=True),
    "vgg-script-unfolded": partial(export, vgg, dynamo=False, free=True, fold=False),
    "sequence-dynamo-free": partial(export, sequence, dynamo=True, free=True),
    "sequence-script-fixed": partial(export, sequence, dynamo=False, free=False),
    "signal-dynamo-free": partial(export, Signal, dynamo=True, free=True),
    "signal-script-free": partial(export, Signal, dynamo=False, free=True),
    "signal-script-unfolded": partial(export, Signal, dynamo=False, free=True, fold=False),
    "volume-dynamo-fixed": partial(export, volume, dynamo=True, free=False),
    "volume-script-free": partial(export, volume, dynamo=False, free=True),
    "keras-mlp": keras_mlp,
    "keras-cnn": keras_cnn,
    "constant-nodes": constant_nodes,
    "sklearn-classifier": partial(sklearn, "classifier"),
    "sklearn-binary": partial(sklearn, "binary"),
    "sklearn-multilabel": partial(sklearn, "multilabel"),
    "sklearn-regressor": partial(sklearn, "regressor"),
    "sklearn-scaled": partial(sklearn, "scaled"),
}


@cache
def _made(name: str) -> bytes:
    return NETWORKS[name]().SerializeToString()


def network(name: str) -> ModelProto:
    """A fresh copy, free to be changed."""
    return onnx.load_model_from_string(_made(name))
