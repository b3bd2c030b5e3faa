"""Small networks of every architecture that the project is proven on, in torch.

``ARCHITECTURES``  name -> how it is made, at any width, and data that it can learn
``train``          a short dense training
``export``         a torch module as an ONNX model, by either of torch's exporters
``seasoned``       a fresh module with constants as training leaves them
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from examples.networks import data
from examples.networks.attention import GPT, Encoder, ViT
from examples.networks.branched import UNet, densenet, shufflenet
from examples.networks.convolutional import lenet5, vgg16
from examples.networks.data import Arrays
from examples.networks.dense import Autoencoder, TwoInputs, TwoOutputs, mlp
from examples.networks.export import EXPORTERS, Exporter, export
from examples.networks.recurrent import Cell, Recurrent
from examples.networks.residual import mobilenet, resnet18
from examples.networks.training import train

__all__ = ["ARCHITECTURES", "EXPORTERS", "Architecture", "Exporter", "export", "seasoned", "train"]


@dataclass(frozen=True)
class Architecture:
    """A network of any width from ``narrowest`` on, what it learns, and the names in its file."""

    make: Callable[[int], nn.Module]
    data: Callable[[], Arrays]
    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("logits",)
    narrowest: int = 4

    @property
    def targets(self) -> tuple[str, ...]:
        """Arrays of the data, one an output."""
        return ("y",) if len(self.outputs) == 1 else tuple(f"y_{name}" for name in self.outputs)

    def example(self, batch: int) -> dict[str, Tensor]:
        """The first samples of every input."""
        arrays = self.data()
        return {name: torch.from_numpy(arrays[name][:batch]) for name in self.inputs}


_TOKENS = ("tokens",)
_small, _large = partial(data.digits, 16), partial(data.digits, 32)


def _recurrent(cell: Cell, *, both: bool) -> Architecture:
    return Architecture(partial(Recurrent, cell=cell, both=both), data.first_marker, _TOKENS)


ARCHITECTURES: Mapping[str, Architecture] = {
    "mlp": Architecture(mlp, partial(data.digits, 28)),
    "lenet5": Architecture(lenet5, partial(data.digits, 28)),
    "vgg16": Architecture(vgg16, _large),
    "resnet18": Architecture(resnet18, _small),
    "mobilenet": Architecture(mobilenet, _small),
    "densenet": Architecture(densenet, _small),
    "shufflenet": Architecture(shufflenet, _small),
    "unet": Architecture(UNet, data.noisy_ink),
    "encoder": Architecture(Encoder, data.first_marker, _TOKENS, narrowest=8),
    "vit": Architecture(ViT, _small, narrowest=8),
    "gpt": Architecture(GPT, data.progressions, _TOKENS, narrowest=8),
    "lstm": _recurrent("LSTM", both=False),
    "lstm_both": _recurrent("LSTM", both=True),
    "gru": _recurrent("GRU", both=False),
    "gru_both": _recurrent("GRU", both=True),
    "autoencoder": Architecture(Autoencoder, data.restored, outputs=("restored",)),
    "two_inputs": Architecture(TwoInputs, data.halves, ("upper", "lower")),
    "two_outputs": Architecture(TwoOutputs, data.digit_and_ink, outputs=("digit", "ink")),
}


def seasoned(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module, with random entries where a fresh one has the same number throughout.

    Those are scales, shifts and running statistics, and exporters store equal tensors once.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.numel() > 1 and tensor.min() == tensor.max():
                tensor.add_(torch.rand(tensor.shape, generator=generator) - 0.5)
    return module
