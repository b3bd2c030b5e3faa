from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare.fixed_sizes import FixedSizes
from tieshare.graph.tensors import with_tensors
from tieshare.twin import Twin, from_onnx

Make = Callable[..., ModelProto]

NORMED = (
    "g (float[N, 6] x) => (float[N, 3] y) { h = Gemm (x, w, b)"
    " n = BatchNormalization (h, s, t, m, v) r = Relu (n) y = Gemm (r, u, c) }"
)
X = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))


@pytest.fixture
def twin(fresh: Make) -> Twin:
    sizes = {"w": (6, 4), "b": (4,), "u": (4, 3), "c": (3,), **dict.fromkeys("stmv", (4,))}
    model = fresh(NORMED, **sizes)
    return from_onnx(with_tensors(model, {"v": np.array([0.5, 1, 2, 3])}))


def stretch(twin: Twin, factor: float) -> None:
    with torch.no_grad():
        twin.parameter("w").mul_(factor)


def test_before_a_prox_a_weight_has_its_size_and_the_network_computes_the_same(twin: Twin) -> None:
    sizes = FixedSizes(twin)
    whole = twin.parameter("w").detach().clone()
    mean = twin.statistic("m").clone()
    stretch(twin, 3.0)
    with torch.no_grad():
        before = twin(X)
        sizes.settle()
        after = twin(X)
    torch.testing.assert_close(twin.parameter("w").detach(), whole)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(twin.statistic("m"), mean / 3)


def test_after_a_prox_it_has_its_size_and_the_statistics_stay(twin: Twin) -> None:
    sizes = FixedSizes(twin)
    whole, bias = (twin.parameter(name).detach().clone() for name in ("w", "b"))
    kept = [twin.statistic(name).clone() for name in ("m", "v")]
    stretch(twin, 0.25)
    sizes.restore()
    torch.testing.assert_close(twin.parameter("w").detach(), whole)
    assert torch.equal(twin.parameter("b").detach(), bias)
    assert all(torch.equal(twin.statistic(n), v) for n, v in zip("mv", kept, strict=True))


def test_what_is_taken_from_one_row_goes_to_the_others(twin: Twin) -> None:
    sizes = FixedSizes(twin)
    weight = twin.parameter("w").detach()
    before = weight.clone()
    weight[2] = 0
    sizes.restore()
    assert not weight[2].any()
    ratio = weight[[0, 1, 3, 4, 5]] / before[[0, 1, 3, 4, 5]]
    assert ratio.min() > 1
    torch.testing.assert_close(ratio, torch.full_like(ratio, ratio[0, 0].item()))
    assert weight.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)


def test_a_weight_of_zeros_stays_one(twin: Twin) -> None:
    sizes = FixedSizes(twin)
    stretch(twin, 0.0)
    sizes.settle()
    sizes.restore()
    assert not twin.parameter("w").detach().any()
    assert twin.statistic("v").isfinite().all()


def test_other_weights_are_left_alone(twin: Twin) -> None:
    sizes = FixedSizes(twin)
    with torch.no_grad():
        twin.parameter("u").mul_(5)
    kept = twin.parameter("u").detach().clone()
    sizes.settle()
    sizes.restore()
    assert torch.equal(twin.parameter("u").detach(), kept)


def test_a_network_without_batch_norm_has_none(mlp: ModelProto, twin: Twin) -> None:
    assert not FixedSizes(from_onnx(mlp))
    assert FixedSizes(twin)


def test_the_part_of_a_graph_that_is_trained_counts(fresh: Make) -> None:
    """The norm stands behind the value that the twin ends at."""
    sizes = {"w": (6, 4), "b": (4,), "u": (4, 3), "c": (3,), **dict.fromkeys("stmv", (4,))}
    assert from_onnx(fresh(NORMED, **sizes), ["h"]).scale_free == ()
