"""Which stored arrays a gradient reaches."""

from collections.abc import Callable

from onnx import ModelProto

from tieshare.graph.view import view
from tieshare.graph.weights import Weights, weights_of

Make = Callable[[str], ModelProto]


def weights(model: ModelProto, output: str = "y") -> Weights:
    return weights_of(view(model), [output])


def test_statistics_are_not_trained_and_options_are_no_weights(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        kinds (float[N, 3, 5] x) => (float[N, 2, 3] y)
        <float[2, 3, 3] k, float[2] c, float[2] g, float[2] b, float[2] mean, float[2] var,
         float low = {-1.0}, float high = {1.0}, float half = {0.5}, float[2, 1] scale> {
            f = Conv (x, k, c)
            n = BatchNormalization (f, g, b, mean, var)
            l = Clip (n, low, high)
            h = Mul (l, half)
            y = Mul (h, scale)
        }""")
    found = weights(model)
    assert found.trained == ("k", "c", "g", "b", "scale")
    assert found.statistics == ("mean", "var")


def test_a_statistic_that_is_a_weight_too_is_trained(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        twice (float[N, 3] x) => (float[N, 3] y)
        <float[3] ones, float[3] mean, float[3] bias> {
            y = BatchNormalization (x, ones, bias, mean, ones)
        }""")
    assert weights(model).trained == ("ones", "bias")
    assert weights(model).statistics == ("mean",)


def test_a_single_number_is_a_bias_behind_a_layer_and_a_constant_elsewhere(zoo: Make) -> None:
    trained = weights(zoo("sklearn-binary"), "probabilities").trained
    assert "intercepts2" in trained
    assert "unity" not in trained


def test_a_weight_behind_a_transpose_is_trained_and_counted_once(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        turned (float[N, 3] x) => (float[N, 3] y) <float[3, 3] w, float[3] unused> {
            t = Transpose (w)
            a = MatMul (x, t)
            y = MatMul (a, w)
        }""")
    assert weights(model).trained == ("w",)


def test_only_what_the_output_depends_on_counts(zoo: Make) -> None:
    model = zoo("sklearn-classifier")
    assert len(weights(model, "probabilities").trained) == 6
    assert weights(model, "next_activations").trained == ("coefficient", "intercepts")
