"""Small networks in every dialect that the library reads, made once a test session.

NETWORKS          name -> how a classic network is made: chains by each of torch's exporters, with
                  a free and with a fixed batch; Keras-style graphs; scikit-learn models; weights
                  in Constant nodes. Each has one input of floats, and one output of floats
ANY_NETWORKS      those, and every architecture of examples.networks by each exporter
network(name)     the ONNX model, a copy of one that is made once
samples(model, n) n random samples of every input
"""

import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np
import onnx
import torch
from examples.networks import (
    ARCHITECTURES,
    EXPORTERS,
    Exporter,
    converted,
    export,
    seasoned,
)
from examples.networks.convolutional import lenet5
from examples.networks.data import VOCABULARY
from examples.networks.dense import mlp
from onnx import ModelProto, TensorProto, helper
from torch import nn

Array = np.ndarray
# Of a fixed batch.
BATCH = 7


def mlp_bn() -> nn.Module:
    hidden = nn.Linear(784, 300), nn.ReLU(), nn.BatchNorm1d(300)
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(300, 10))


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


INPUTS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (partial(mlp, 300), (1, 28, 28)),
    "mlp_bn": (mlp_bn, (1, 28, 28)),
    "lenet5": (partial(lenet5, 20), (1, 28, 28)),
    "vgg": (vgg, (3, 16, 16)),
    "sequence": (sequence, (5, 6)),
    "signal": (Signal, (2, 31)),
    "volume": (volume, (1, 5, 5, 5)),
}


def chain(kind: str, exporter: Exporter, *, free: bool, fold: bool = True) -> ModelProto:
    make, shape = INPUTS[kind]
    torch.manual_seed(0)
    x = torch.randn(BATCH, *shape)
    return export(seasoned(make()), {"x": x}, ["y"], exporter, free=free, fold=fold)


def architecture(name: str, exporter: Exporter, *, free: bool, opset: int = 20) -> ModelProto:
    made = ARCHITECTURES[name]
    torch.manual_seed(0)
    module = seasoned(made.make(made.narrowest))
    return export(module, made.example(BATCH), made.outputs, exporter, free=free, opset=opset)


def constant_nodes() -> ModelProto:
    """The weights of an MLP as values of Constant nodes."""
    stored = converted.from_text("""
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
    "mlp-dynamo-free": partial(chain, "mlp", "dynamo", free=True),
    "mlp-dynamo-fixed": partial(chain, "mlp", "dynamo", free=False),
    "mlp-script-free": partial(chain, "mlp", "script", free=True),
    "mlp-script-fixed": partial(chain, "mlp", "script", free=False),
    "mlp_bn-dynamo-free": partial(chain, "mlp_bn", "dynamo", free=True),
    "mlp_bn-script-free": partial(chain, "mlp_bn", "script", free=True),
    "lenet5-dynamo-free": partial(chain, "lenet5", "dynamo", free=True),
    "lenet5-dynamo-fixed": partial(chain, "lenet5", "dynamo", free=False),
    "lenet5-script-free": partial(chain, "lenet5", "script", free=True),
    "lenet5-script-fixed": partial(chain, "lenet5", "script", free=False),
    "vgg-dynamo-free": partial(chain, "vgg", "dynamo", free=True),
    "vgg-script-free": partial(chain, "vgg", "script", free=True),
    "vgg-script-unfolded": partial(chain, "vgg", "script", free=True, fold=False),
    "sequence-dynamo-free": partial(chain, "sequence", "dynamo", free=True),
    "sequence-script-fixed": partial(chain, "sequence", "script", free=False),
    "signal-dynamo-free": partial(chain, "signal", "dynamo", free=True),
    "signal-script-free": partial(chain, "signal", "script", free=True),
    "signal-script-unfolded": partial(chain, "signal", "script", free=True, fold=False),
    "volume-dynamo-fixed": partial(chain, "volume", "dynamo", free=False),
    "volume-script-free": partial(chain, "volume", "script", free=True),
    "keras-mlp": converted.keras_mlp,
    "keras-cnn": converted.keras_cnn,
    "constant-nodes": constant_nodes,
    "sklearn-classifier": partial(sklearn, "classifier"),
    "sklearn-binary": partial(sklearn, "binary"),
    "sklearn-multilabel": partial(sklearn, "multilabel"),
    "sklearn-regressor": partial(sklearn, "regressor"),
    "sklearn-scaled": partial(sklearn, "scaled"),
}

ANY_NETWORKS: Mapping[str, Callable[[], ModelProto]] = {
    **NETWORKS,
    **{
        f"{name}-{exporter}-{'free' if free else 'fixed'}": partial(
            architecture, name, exporter, free=free
        )
        for name in ARCHITECTURES
        if name not in INPUTS
        for exporter in EXPORTERS
        for free in (True, False)
    },
    # From opset 23 on attention is one node.
    "vit-dynamo-opset23": partial(architecture, "vit", "dynamo", free=True, opset=23),
    "gpt-dynamo-opset23": partial(architecture, "gpt", "dynamo", free=True, opset=23),
    "keras-residual": converted.keras_residual,
    "keras-lstm": converted.keras_lstm,
    "keras-attention": converted.keras_attention,
}


@cache
def _made(name: str) -> bytes:
    return ANY_NETWORKS[name]().SerializeToString()


def network(name: str) -> ModelProto:
    """A fresh copy, free to be changed."""
    return onnx.load_model_from_string(_made(name))


def samples(model: ModelProto, batch: int, seed: int = 0) -> dict[str, Array]:
    """Inputs by name: normal floats, or token ids that every vocabulary of the zoo has."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, Array] = {}
    for item in model.graph.input:
        shape = batch, *[dim.dim_value for dim in item.type.tensor_type.shape.dim][1:]
        if item.type.tensor_type.elem_type == TensorProto.FLOAT:
            drawn[item.name] = rng.normal(size=shape).astype(np.float32)
        else:
            drawn[item.name] = rng.integers(VOCABULARY, size=shape)
    return drawn
