"""A small dense classifier of handwritten digits: the network and data of the demo."""

import itertools
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

BATCH = 64
WIDTHS = (64, 256, 128, 10)
INPUT, OUTPUT = "x", "logits"
# Of the first layer, (outputs, inputs), as the exporter names it.
FIRST_WEIGHT = "0.weight"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Digits:
    """What the demo starts from: two files, and the accuracy of the network on the test split."""

    model: Path
    data: Path
    accuracy: float
    test_images: np.ndarray  # (samples, 64), from 0 to 1
    test_labels: np.ndarray  # (samples,)


def make(folder: Path, epochs: int = 60, seed: int = 0) -> Digits:
    """Train the network, and write ``digits.onnx`` and ``digits.npz`` to ``folder``."""
    arrays = splits(seed)
    network = train(arrays["x"], arrays["y"], epochs, seed)
    with torch.no_grad():
        answers = network(torch.from_numpy(arrays["x_test"])).argmax(1).numpy()
    model, data = folder / "digits.onnx", folder / "digits.npz"
    export(network, model)
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    accuracy = float((answers == arrays["y_test"]).mean())
    return Digits(model, data, accuracy, arrays["x_test"], arrays["y_test"])


def splits(seed: int) -> Arrays:
    """1,797 images of 8 x 8: 60 % to train on, 15 % to choose on, 25 % to report on."""
    images, labels = load_digits(return_X_y=True)
    x, y = (images / 16).astype(np.float32), labels.astype(np.int64)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.2, stratify=y, random_state=seed)
    return {"x": x, "y": y, "x_val": x_val, "y_val": y_val, "x_test": x_test, "y_test": y_test}


def train(x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> nn.Sequential:
    """Adam with a cosine schedule on cross-entropy."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(WIDTHS):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(labels)), BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
    return network.eval()


def export(network: nn.Module, file: Path) -> None:
    """Torch's default exporter, with a free batch, all weights in the one file."""
    # It warns about packages that this network does not need, and about its own use of torch.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, WIDTHS[0]),),
            file,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: "batch"},),
            external_data=False,
            verbose=False,
        )
