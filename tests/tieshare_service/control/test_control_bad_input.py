"""Every kind of bad file: refused by name, and the service goes on."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.lib import format as npy
from onnx import helper, numpy_helper, parser

Edit = Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Bad:
    """``slug`` is the problem's type, ``where`` a part of what it names."""

    content: bytes
    slug: str
    where: str = ""


@pytest.fixture(autouse=True)
def health(http: httpx.Client) -> Iterator[None]:
    """Whatever came, the service answers afterwards."""
    yield
    assert http.get("/healthz").status_code == 200
    assert http.get("/readyz").status_code == 200


def refused(http: httpx.Client, kind: str, bad: Bad) -> None:
    answer = http.post(f"/v1/{kind}", content=bad.content)
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"https://tieshare.dev/problems/{bad.slug}", problem
    assert bad.where in problem.get("where", ""), problem
    assert http.get(f"/v1/{kind}").json()["items"] == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_model_is_refused(http: httpx.Client, model_bytes: bytes, share: float) -> None:
    refused(http, "models", Bad(model_bytes[: int(len(model_bytes) * share)], "model-not-onnx"))


@pytest.mark.parametrize(
    "content", [b"hello", b"\x00" * 1000, b"\xff" * 1000, b"\x89PNG\r\n\x1a\n", b"{}"]
)
def test_what_is_not_onnx_is_refused(http: httpx.Client, content: bytes) -> None:
    refused(http, "models", Bad(content, "model-not-onnx"))


def test_a_data_set_is_no_model_and_a_model_no_data_set(
    http: httpx.Client, model_bytes: bytes, dataset_bytes: bytes
) -> None:
    refused(http, "models", Bad(dataset_bytes, "model-not-onnx"))
    refused(http, "datasets", Bad(model_bytes, "dataset-not-npz"))


@pytest.mark.parametrize("how", ["above", "absolute", "symlink"])
def test_weights_in_another_file_are_refused(
    http: httpx.Client, model_bytes: bytes, tmp_path: Path, how: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(96))
    (tmp_path / "link").symlink_to(secret)
    location = {"above": "../secret", "absolute": str(secret), "symlink": str(tmp_path / "link")}
    model = onnx.load_model_from_string(model_bytes)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location[how])
    refused(http, "models", Bad(model.SerializeToString(), "model-external-data", "w1"))


def _chance(model: onnx.ModelProto) -> None:
    node = helper.make_node("Bernoulli", ["hidden"], ["active"], name="step")
    model.graph.node[1].CopyFrom(node)


def _no_weights(model: onnx.ModelProto) -> None:
    for tensor in list(model.graph.initializer):
        model.graph.initializer.remove(tensor)
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )


def _nan(model: onnx.ModelProto) -> None:
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w1"))


@pytest.mark.parametrize(
    ("edit", "slug", "where"),
    [
        (_chance, "model-unsupported-operator", "step"),
        (_no_weights, "model-unsupported", ""),
        (_nan, "model-unsupported", "w1"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(
    http: httpx.Client, model_bytes: bytes, edit: Edit, slug: str, where: str
) -> None:
    model = onnx.load_model_from_string(model_bytes)
    edit(model)
    refused(http, "models", Bad(model.SerializeToString(), slug, where))


def test_an_operator_is_refused_with_its_node_and_its_opset(
    http: httpx.Client, model_bytes: bytes
) -> None:
    model = onnx.load_model_from_string(model_bytes)
    _chance(model)
    detail = http.post("/v1/models", content=model.SerializeToString()).json()["detail"]
    assert detail.startswith("node 'step': operator Bernoulli at opset 20")


@pytest.mark.parametrize(
    ("arrays", "where"),
    [
        ({"x": np.array([{}, []], dtype=object), "y": np.zeros(2)}, "x"),
        ({"x": np.array([[1, np.nan]]), "y": np.zeros(1)}, "x"),
        ({"x": np.array([[1, np.inf]]), "y": np.zeros(1)}, "x"),
        ({"x": np.zeros((0, 4)), "y": np.zeros(0)}, "x"),
        ({"x": np.array(["a", "b"]), "y": np.zeros(2)}, "x"),
        ({"x": np.zeros(()), "y": np.zeros(1)}, "x"),
    ],
    ids=["objects", "nan", "infinity", "no sample", "text", "no axis"],
)
def test_an_array_that_cannot_be_learnt_from_is_refused(
    http: httpx.Client, pack: Callable[[dict[str, Any]], bytes], arrays: dict[str, Any], where: str
) -> None:
    refused(http, "datasets", Bad(pack(arrays), "dataset-bad-array", where))


def test_an_empty_data_set_is_refused(
    http: httpx.Client, pack: Callable[[dict[str, Any]], bytes]
) -> None:
    refused(http, "datasets", Bad(pack({}), "dataset-bad-array"))


def _entry(header: bytes, content: bytes) -> bytes:
    """An archive whose one array, x, has this header before these bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header + content)
    return file.getvalue()


def _header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    return file.getvalue()


@pytest.mark.parametrize("shape", [(100, 4), (2**40, 2**20), (2**62, 2**62)])
def test_a_header_that_declares_more_than_the_file_holds_is_refused(
    http: httpx.Client, shape: tuple[int, ...]
) -> None:
    refused(http, "datasets", Bad(_entry(_header(shape), bytes(16)), "dataset-bad-array", "x"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_data_set_is_refused(
    http: httpx.Client, dataset_bytes: bytes, share: float
) -> None:
    cut = dataset_bytes[: int(len(dataset_bytes) * share)]
    refused(http, "datasets", Bad(cut, "dataset-not-npz"))


def test_a_pickle_is_never_opened(http: httpx.Client, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    file = io.BytesIO()
    np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    refused(http, "datasets", Bad(_entry(b"", file.getvalue()), "dataset-bad-array", "x"))
    assert not (tmp_path / "sprung").exists()


X, Y = np.zeros((60, 4), dtype=np.float32), np.arange(60) % 3


@pytest.mark.parametrize(
    ("arrays", "where"),
    [
        ({"pixels": X, "y": Y}, ""),
        ({"x": X}, ""),
        ({"x": np.zeros((60, 5), dtype=np.float32), "y": Y}, "x"),
        ({"x": X, "y": Y[:59]}, ""),
        ({"x": X, "y": Y + 1}, "y"),
        ({"x": X, "y": Y - 1}, "y"),
        ({"x": X, "y": np.zeros((60, 4), dtype=np.float32)}, "y"),
    ],
    ids=["wrong name", "no target", "wrong shape", "lengths", "too large", "negative", "target"],
)
def test_a_data_set_that_does_not_fit_the_model_is_refused_at_submission(
    http: httpx.Client,
    uploaded: tuple[str, str],
    pack: Callable[[dict[str, Any]], bytes],
    arrays: dict[str, Any],
    where: str,
) -> None:
    dataset = http.post("/v1/datasets", content=pack(arrays)).raise_for_status().json()["id"]
    answer = http.post("/v1/jobs", json={"model": uploaded[0], "dataset": dataset})
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("/dataset-does-not-fit")
    assert where in answer.json().get("where", "")
    assert http.get("/v1/jobs").json()["items"] == []


TAGGER = """
    <ir_version: 8, opset_import: ["" : 17]>
    tagger (int64[batch, length] ids) => (float[batch, length, 3] tag, float[batch, length, 2] end)
    <float[10, 8] words, float[8, 3] w, float[8, 2] v> {
        e = Gather (words, ids)
        tag = MatMul (e, w)
        end = MatMul (e, v)
    }"""


@pytest.fixture
def tagger(http: httpx.Client) -> str:
    """Id of a model of tokens with two outputs."""
    model = parser.parse_model(TAGGER)
    rng = np.random.default_rng(0)
    for item in list(model.graph.value_info):
        shape = [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        weights = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, item.name))
    del model.graph.value_info[:]
    answer = http.post("/v1/models", content=model.SerializeToString())
    return str(answer.raise_for_status().json()["id"])


IDS = np.arange(60 * 7).reshape(60, 7) % 10
TAGS = IDS % 3 - 1  # -1: no label


@pytest.mark.parametrize(
    ("arrays", "where"),
    [
        ({"ids": IDS, "y_tag": TAGS, "y_end": TAGS % 2}, None),
        ({"ids": IDS, "y_end": TAGS}, None),
        ({"ids": IDS + 1, "y_tag": TAGS}, "ids"),
        ({"ids": IDS * 1.0, "y_tag": TAGS}, "ids"),
        ({"ids": IDS, "y": TAGS}, "y_tag"),
        ({"ids": IDS, "y_tag": TAGS[:, :6]}, "y_tag"),
        ({"ids": IDS, "y_tag": TAGS, "y_end": IDS % 3}, "y_end"),
        ({"ids": IDS, "y_tag": TAGS, "y_other": TAGS}, "y_other"),
    ],
    ids=["both", "one", "token", "floats", "which", "steps", "too large", "no such output"],
)
def test_tokens_and_several_outputs_are_held_against_the_model_at_submission(
    http: httpx.Client,
    tagger: str,
    pack: Callable[[dict[str, Any]], bytes],
    arrays: dict[str, Any],
    where: str | None,
) -> None:
    dataset = http.post("/v1/datasets", content=pack(arrays)).raise_for_status().json()["id"]
    body = {"model": tagger, "dataset": dataset}
    answer = http.post("/v1/jobs?validate_only=true", json=body)
    if where is None:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("/dataset-does-not-fit")
        assert answer.json()["where"] == where


def test_a_job_request_over_the_limit_is_refused(http: httpx.Client) -> None:
    body = b'{"name": "' + b"x" * (1 << 20) + b'"}'
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["type"].endswith("/body-too-large")


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_json_that_is_too_deep_is_refused(http: httpx.Client, depth: int) -> None:
    body = b'{"a":' * depth
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("body", ["[]", "3", '"x"', "null"])
def test_json_that_is_no_object_is_refused(http: httpx.Client, body: str) -> None:
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["where"] == "body"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_job_request_that_is_not_called_json_is_refused(
    http: httpx.Client, media_type: str
) -> None:
    answer = http.post("/v1/jobs", content=b"{}", headers={"Content-Type": media_type})
    assert answer.status_code == 415
    assert answer.json()["where"] == "Content-Type"


@pytest.mark.parametrize("body", [r'{"\ud800": 1}', r'{"model": "\ud800", "dataset": "x"}'])
def test_text_that_is_no_unicode_is_refused(http: httpx.Client, body: str) -> None:
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (404, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_refusal_does_not_repeat_all_that_was_sent(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", json={"x" * 100_000: 1})
    assert answer.status_code == 422
    assert len(answer.content) < 5000
