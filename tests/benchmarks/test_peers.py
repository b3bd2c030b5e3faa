from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from benchmarks.peers_chart import draw
from benchmarks.peers_magnitude import stored_sparse, zeroed
from benchmarks.training import Cycle, images, train
from examples.networks import export
from torch import nn

from tieshare.data import Dataset
from tieshare.measure import predict
from tieshare.recipe import Augment


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


RNG = np.random.default_rng(0)
DATA = Dataset(
    {"x": RNG.integers(0, 256, (512, 8, 8), dtype=np.uint8), "y": RNG.integers(0, 10, 512)}
)


def zeros(net: nn.Module) -> tuple[int, int]:
    """Of all weights, and how many there are."""
    weights = [w for w in net.parameters() if w.ndim > 1]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


def test_the_smallest_weights_become_zeros_and_stay_so_while_training() -> None:
    net = small()
    before = [w.clone() for w in net.parameters()]
    smaller, keep_zero = zeroed(net, 0.25)
    found, whole = zeros(smaller)
    assert found == pytest.approx(0.75 * whole, abs=1)
    kept = torch.cat([w[w != 0].abs() for w in smaller.parameters() if w.ndim > 1])
    lost = torch.cat([w.abs().flatten() for w in net.parameters() if w.ndim > 1])
    assert kept.min() >= lost.kthvalue(round(0.75 * whole)).values
    train(smaller, DATA, Cycle(1, 2e-3, Augment(shift=1)), teacher=net, after_step=keep_zero)
    assert zeros(smaller)[0] == found
    assert all(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))


def test_a_file_with_sparse_tensors_is_smaller_and_computes_the_same() -> None:
    smaller, _ = zeroed(small(), 0.1)
    x = images(DATA)
    plain = export(smaller, {"x": x[:2]}, ["logits"])
    packed = stored_sparse(plain)
    onnx.checker.check_model(packed)
    assert plain.ByteSize() - packed.ByteSize() > 0.6 * 4 * (64 * 32 + 32 * 10)
    output = plain.graph.output[0].name
    expected = predict(plain, output, [x.numpy()])
    assert predict(packed, output, [x.numpy()]) == pytest.approx(expected, abs=1e-6)


def test_what_is_not_mostly_zeros_stays_as_it_is() -> None:
    plain = export(small(), {"x": images(DATA)[:2]}, ["logits"])
    assert stored_sparse(plain).SerializeToString() == plain.SerializeToString()


def test_the_chart_shows_every_method_that_was_run(tmp_path: Path) -> None:
    row = {"accuracy": 0.98, "bytes": 1_000, "us_1": 5.0}
    found = {"mlp": {"dense": [row], "ours": [row | {"bytes": 100}]}, "lenet5": {"dense": [row]}}
    draw(found, tmp_path)
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "peers.svg").stat().st_size > 5_000
