import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.paper import counted, main, mnist_table, vgg_table
from benchmarks.paper_networks import Split, moved, standardised, vgg16
from benchmarks.paper_rows import Labels, Rows
from benchmarks.paper_training import LayerDied, Schedule, accuracy, descend, tie_rows
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tieshare.cluster import tie
from tieshare.penalties import OrderedRows

LABELS = np.array([0, 1, -1, 0, 2, 1, 0, -1])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def whole(rows: Rows) -> Tensor:
    """The weight with all its rows."""
    weight = rows.layer.weight
    W = torch.from_numpy(rows.matrix())
    return W.view(len(W), len(weight), *weight.shape[2:]).movedim(1, 0)


def problem(samples: int = 400) -> tuple[nn.Sequential, Split]:
    """Two classes that four of 12 inputs tell apart, of which the third is a copy of the first."""
    x = torch.randn(samples, 12)
    x[:, 2] = x[:, 0]
    y = (x[:, :4].sum(1) > 0).long()
    layers = OrderedDict[str, nn.Module](
        fc1=Rows(nn.Linear(12, 6)), relu=nn.ReLU(), fc2=nn.Linear(6, 2)
    )
    return nn.Sequential(layers), Split(x, y, lambda batch: batch)


def test_a_dense_layer_with_tied_rows_answers_as_its_whole_weight_does() -> None:
    rows, x = Rows(nn.Linear(8, 5)), torch.randn(4, 8)
    rows.put(tie(rows.matrix(), LABELS), LABELS)
    assert (rows.alive, rows.clusters) == (6, 3)
    torch.testing.assert_close(rows(x), F.linear(x, whole(rows), rows.layer.bias))
    torch.testing.assert_close(rows(rows.projected(x)), rows(x))


def test_a_convolution_with_tied_rows_answers_as_its_whole_weight_does() -> None:
    rows, x = Rows(nn.Conv2d(8, 5, 3, padding=1)), torch.randn(4, 8, 6, 6)
    W = tie(rows.matrix(), LABELS)
    rows.put(W, LABELS)
    np.testing.assert_allclose(rows.matrix(), W, rtol=1e-6)
    torch.testing.assert_close(rows(x), F.conv2d(x, whole(rows), rows.layer.bias, padding=1))


@pytest.mark.parametrize("labels", [LABELS, np.array([0, 1, -1, 2, 3, 4, 5, -1])])
def test_a_step_is_that_of_the_whole_weight_averaged_over_each_cluster(labels: Labels) -> None:
    rows, x = Rows(nn.Linear(8, 5)), torch.randn(4, 8)
    rows.put(tie(rows.matrix(), labels), labels)
    before = whole(rows).clone().requires_grad_()
    F.linear(x, before, rows.layer.bias).square().sum().backward()
    assert before.grad is not None
    expected = tie(
        (before.detach() - 0.01 * (before.grad + 0.1 * before.detach())).T.numpy(), labels
    )
    optimizer = torch.optim.SGD([rows.layer.weight], 0.01, weight_decay=0.1)
    rows(x).square().sum().backward()
    optimizer.step()
    np.testing.assert_allclose(rows.matrix(), expected, rtol=1e-4, atol=1e-6)


def test_momentum_of_rows_that_live_on_is_kept() -> None:
    rows, x = Rows(nn.Linear(8, 5)), torch.randn(4, 8)
    optimizer = torch.optim.SGD(rows.parameters(), 0.01, 0.9)
    rows(x).square().sum().backward()
    optimizer.step()
    momentum = optimizer.state[rows.layer.weight]["momentum_buffer"].clone()
    alive = np.array([0, -1, 1, 2, -1, 3, 4, 5])
    W = rows.matrix()
    W[alive < 0] = 0
    rows.put(W, alive, optimizer)
    kept = optimizer.state[rows.layer.weight]["momentum_buffer"]
    torch.testing.assert_close(kept, momentum[:, alive >= 0])
    assert optimizer.param_groups[0]["params"][0] is rows.layer.weight


def test_rows_that_tell_nothing_die_and_alike_rows_are_tied() -> None:
    net, data = problem()
    lasso = {"fc1": OrderedRows(np.full(12, 1.0))}
    schedule = Schedule(60, 0.05, 0.9, 20)
    descend(net, data, schedule, l2=1e-3, penalties=lasso, tell=lambda *_: None)
    rows = net[0]
    assert isinstance(rows, Rows)
    assert rows.alive == 4
    assert (rows.labels[:4] >= 0).all()
    tie_rows(net, ("fc1",), 0.6, 1.0)
    assert rows.labels[0] == rows.labels[2]
    assert accuracy(net, data) > 0.95


def test_a_layer_of_which_nothing_is_left_ends_the_run() -> None:
    net, data = problem()
    lasso = {"fc1": OrderedRows(np.full(12, 1e3))}
    with pytest.raises(LayerDied, match="0 of a layer's 12 rows"):
        descend(net, data, Schedule(1, 0.1, 1, 1), l2=0, penalties=lasso, tell=lambda *_: None)


def test_the_rate_falls_in_steps() -> None:
    rates = [mnist_table().schedules[0].at(epoch) for epoch in (0, 9, 10, 299)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 0.96e-3, 0.96**29 * 1e-3])


def test_the_weights_of_the_ordered_norms_are_the_authors() -> None:
    mnist = mnist_table().rows["GrOWL + l2"].penalties["fc1"]
    assert isinstance(mnist, OrderedRows)
    np.testing.assert_allclose(mnist.lam[[0, 1, 390, 783]], [103.65, 103.415, 12, 12])
    vgg = vgg_table().rows["GrOWL"].penalties
    assert list(vgg)[0::12] == ["conv2", "fc1"]
    conv11 = vgg["conv11"]
    assert isinstance(conv11, OrderedRows)
    np.testing.assert_allclose(conv11.lam[[0, 50, 511]], [5.5 + 0.05 * 50, 5.5, 5.5])


def test_a_column_goes_where_the_next_layer_does_not_read_it() -> None:
    first, second = Rows(nn.Linear(4, 6)), Rows(nn.Linear(6, 2))
    first.put(tie(first.matrix(), np.array([0, 0, 1, -1])), np.array([0, 0, 1, -1]))
    labels = np.array([0, 1, 2, -1, -1, -1])
    second.put(tie(second.matrix(), labels), labels)
    figures = counted(nn.Sequential(first, second), 0.5)
    # Of 4 * 6 + 6 * 2 numbers 3 * 3 + 3 * 2 are not zero, and 2 * 3 + 3 * 2 unique.
    assert figures.sparsity == pytest.approx(1 - 15 / 36)
    assert figures.sharing == pytest.approx(15 / 12)
    assert figures.ratio == pytest.approx(3)


def test_images_are_shifted_by_two_pixels_at_most_and_half_of_them_mirrored() -> None:
    x = torch.zeros(500, 3, 16, 16, dtype=torch.uint8)
    x[:, :, 3, 2] = 200
    shifted = moved(x)
    sample, row, column = shifted[:, 1].nonzero().T
    assert sample.tolist() == list(range(500))
    assert set(row.tolist()) == {1, 2, 3, 4, 5}
    assert set(column.tolist()) == {0, 1, 2, 3, 4, 11, 12, 13, 14, 15}
    assert 200 < int((column > 7).sum()) < 300


def test_images_are_standardised_each_by_itself() -> None:
    x = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    x[0] = 7
    pixels = standardised(x).flatten(1)
    torch.testing.assert_close(pixels.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.std(1, correction=0), torch.tensor([0.0, 1, 1, 1]))


def test_vgg16_has_the_papers_layers() -> None:
    net = vgg16()
    shapes = [layer.layer.weight.shape[:2] for layer in net if isinstance(layer, Rows)]
    assert [tuple(shape) for shape in shapes[:2]] == [(64, 3), (64, 64)]
    assert len(shapes) == 15
    assert sum(value.numel() for value in net.parameters()) == 14_991_946


def pictures(path: Path, samples: int) -> None:
    """Made images in the form of the stored CIFAR-10."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        coded = []
        for _ in range(samples):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "JPEG")
            coded.append(file.getvalue())
        arrays[f"jpeg_{split}"] = np.frombuffer(b"".join(coded), dtype=np.uint8)
        arrays[f"end_{split}"] = np.cumsum([len(code) for code in coded])
        arrays[f"y_{split}"] = rng.integers(0, 10, samples, dtype=np.uint8)
    np.savez(path, **arrays)


@pytest.mark.slow
def test_two_epochs_of_vgg16_on_a_few_images_give_a_row_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "images.npz", 6)
    arguments = ["--vgg", "--epochs", "2", "--retrain", "2", "--device", "cpu", "--rows"]
    main([*arguments, "GrOWL + l2", "--data", f"{tmp_path}/images.npz", "--out", str(tmp_path)])
    stored = json.loads((tmp_path / "vgg-growl-l2-0.json").read_text())
    assert stored["settings"]["images"] == 6
    assert stored["figures"]["sparsity"] == 0
    assert 1 <= stored["figures"]["ratio"] < 20
    assert "GrOWL + l2" in capsys.readouterr().out


def test_a_row_that_is_stored_is_read_and_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (5200, 28, 28), dtype=np.uint8), rng.integers(0, 10, 5200)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    arguments = ["--rows", "GrOWL", "--epochs", "2", "--retrain", "1", "--seeds", "2"]
    arguments += ["--data", str(tmp_path / "mnist.npz"), "--out", str(tmp_path), "--device", "cpu"]
    main(arguments)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.glob("mnist-*.json")}
    assert sorted(file.name for file in files) == ["mnist-growl-0.json", "mnist-growl-1.json"]
    first = capsys.readouterr().out
    main(arguments)
    assert {file: file.stat().st_mtime_ns for file in files} == files
    assert first.splitlines()[-3:] == capsys.readouterr().out.splitlines()[-3:]
    assert "80.40" in first
