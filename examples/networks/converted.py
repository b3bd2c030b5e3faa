"""Graphs as converters of Keras models write them, in ONNX text, with random weights.

Images have their channels last; each layer is a product and a sum; heads are made by Einsum.
"""

import numpy as np
from onnx import ModelProto, helper, numpy_helper, parser


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
    """Two dense layers on a flattened image."""
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


def keras_residual() -> ModelProto:
    """A separable convolution that is added to what it read, channels last in between."""
    return from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        keras_residual (float[unk, 8, 8, 3] x) => (float[unk, 4] logits)
        <float[6, 3, 3, 3] k1, float[6] c1, float[6, 1, 3, 3] k2, float[6, 6, 1, 1] k3,
         float[6] gamma, float[6] beta, float[6] mean, float[6] var, float[6, 4] w, float[4] b> {
            x1 = Transpose <perm = [0, 3, 1, 2]> (x)
            f1 = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3], strides = [2, 2]>
                (x1, k1, c1)
            r1 = Relu (f1)
            y1 = Transpose <perm = [0, 2, 3, 1]> (r1)
            x2 = Transpose <perm = [0, 3, 1, 2]> (y1)
            d2 = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3], group = 6> (x2, k2)
            f2 = Conv <auto_pad = "VALID", kernel_shape = [1, 1]> (d2, k3)
            n2 = BatchNormalization <epsilon = 0.001> (f2, gamma, beta, mean, var)
            y2 = Transpose <perm = [0, 2, 3, 1]> (n2)
            added = Add (y2, y1)
            r2 = Relu (added)
            pooled = ReduceMean <axes = [1, 2], keepdims = 0> (r2)
            m = MatMul (pooled, w)
            logits = Add (m, b)
        }
    """)


def keras_lstm() -> ModelProto:
    """Time first, and one direction squeezed away; the class is read off the last step."""
    return from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        keras_lstm (float[unk, 6, 5] x) => (float[unk, 3] probabilities)
        <float[1, 32, 5] W, float[1, 32, 8] R, float[1, 64] B, int64[1] zero = {0},
         float[8, 3] w, float[3] b> {
            steps = Transpose <perm = [1, 0, 2]> (x)
            states, last = LSTM <hidden_size = 8> (steps, W, R, B)
            state = Squeeze (last, zero)
            m = MatMul (state, w)
            a = Add (m, b)
            probabilities = Softmax (a)
        }
    """)


def keras_attention() -> ModelProto:
    """Two heads of width 3 on 4 steps; a normalisation that is written out."""
    return from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        keras_attention (float[unk, 4, 6] x) => (float[unk, 3] logits)
        <float[6, 2, 3] wq, float[2, 3] bq, float[6, 2, 3] wk, float[2, 3] bk,
         float[6, 2, 3] wv, float[2, 3] bv, float[2, 3, 6] wo, float[6] bo,
         float scale = {0.57735}, float small = {0.001}, float[6] gamma, float[6] beta,
         float[6, 3] w, float[3] b> {
            q0 = Einsum <equation = "abc,cde->abde"> (x, wq)
            q1 = Add (q0, bq)
            q = Mul (q1, scale)
            k0 = Einsum <equation = "abc,cde->abde"> (x, wk)
            k = Add (k0, bk)
            v0 = Einsum <equation = "abc,cde->abde"> (x, wv)
            v = Add (v0, bv)
            alike = Einsum <equation = "aecd,abcd->acbe"> (k, q)
            shares = Softmax <axis = -1> (alike)
            mixed = Einsum <equation = "acbe,aecd->abcd"> (shares, v)
            o0 = Einsum <equation = "abcd,cde->abe"> (mixed, wo)
            o = Add (o0, bo)
            added = Add (x, o)
            mean = ReduceMean <axes = [2], keepdims = 1> (added)
            apart = Sub (added, mean)
            squared = Mul (apart, apart)
            var = ReduceMean <axes = [2], keepdims = 1> (squared)
            above = Add (var, small)
            root = Sqrt (above)
            even = Div (apart, root)
            scaled = Mul (even, gamma)
            normal = Add (scaled, beta)
            pooled = ReduceMean <axes = [1], keepdims = 0> (normal)
            m = MatMul (pooled, w)
            logits = Add (m, b)
        }
    """)
