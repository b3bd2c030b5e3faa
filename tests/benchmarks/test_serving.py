from pathlib import Path

import numpy as np
import onnxruntime
import orjson
import pytest
from benchmarks.http_load import Figures
from benchmarks.serving_encodings import BINARY, JSON, PLAIN
from benchmarks.serving_models import FORMS, networks, write
from benchmarks.serving_requests import asked
from benchmarks.serving_servers import PEERS, SERVERS
from benchmarks.serving_tables import (
    BESIDE,
    EMPTY,
    FASTAPI,
    IN_PROCESS,
    MLSERVER,
    NO_WAY,
    OURS,
    Case,
    Way,
    figures_table,
    in_process,
    targets_table,
)

X = np.random.default_rng(0).random((2, 3), dtype=np.float32)


def figures(per_second: float) -> Figures:
    return Figures(per_second, p50_ms=2.0, p99_ms=5.0)


FOUND = {
    Case(OURS, "mlp", "dense", Way("JSON", 1)): figures(900),
    Case(OURS, "mlp", "shared", Way("JSON", 1)): figures(990),
    Case(BESIDE, "mlp", "dense", Way("JSON", 1)): Figures(800, p50_ms=3.0, p99_ms=8.0),
    Case(MLSERVER, "mlp", "dense", Way("JSON", 1)): figures(100),
    Case(EMPTY, "mlp", "dense", NO_WAY): figures(2000),
    Case(OURS, "mlp", "dense", Way("binary", 32)): figures(40),
    Case(IN_PROCESS, "mlp", "dense", in_process(32)): figures(50),
    Case(IN_PROCESS, "mlp", "dense", in_process(1)): figures(1000),
    Case(IN_PROCESS, "mlp", "shared", in_process(1)): figures(1200),
}


def test_each_ratio_stands_beside_the_value_to_be_reached() -> None:
    lines = targets_table(["mlp", "cnn"], FOUND).splitlines()
    assert lines[0] == "| ratio | to reach | mlp | cnn |"
    assert "| JSON, batch 1: requests/s over MLServer | 8 | 9.00 | not run |" in lines
    assert "| JSON, batch 1: requests/s over plain FastAPI | 3.5 | not run | not run |" in lines
    assert f"| JSON, batch 1: requests/s over {EMPTY} | 0.5 | 0.45 | not run |" in lines
    assert f"| binary, batch 32: samples/s over {IN_PROCESS} | 0.7 | 0.80 | not run |" in lines
    assert "| JSON, batch 1: p99 over p50 | below 3 | 2.50 | not run |" in lines
    assert "| JSON, batch 1: p99 while a job trains over p99 | below 2 | 1.60 | not run |" in lines
    shared = "JSON, batch 1: shared over dense, beside ONNX Runtime alone"
    assert f"| {shared} | within 10 % | 1.10 beside 1.20 | not run |" in lines


def test_a_table_holds_one_model_and_names_what_was_not_run() -> None:
    absent = {("Triton", "mlp"): "not installed: no such wheel", (FASTAPI, "cnn"): "did not start"}
    lines = figures_table("mlp", FOUND, absent).splitlines()
    assert len(lines) == 2 + len(FOUND) + 1
    assert "| tieshare | dense | binary, batch 32 | 40 | 1,280 | 2.000 | 5.000 |" in lines
    assert lines[-1] == "| Triton | | not installed: no such wheel | | | | |"


def test_json_holds_a_tensor_as_flat_numbers() -> None:
    _, body = JSON.encode("x", X)
    (tensor,) = orjson.loads(body)["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("x", "FP32", [2, 3])
    assert np.array_equal(np.float32(tensor["data"]), X.ravel())
    answer = orjson.dumps({"outputs": [{"data": X.ravel().tolist()}]})
    assert np.array_equal(JSON.decode(answer, X.size), X.ravel())


def test_a_binary_request_is_a_json_head_and_the_bytes_of_the_tensor() -> None:
    headers, body = BINARY.encode("x", X)
    size = int(dict(headers)["Inference-Header-Content-Length"])
    head = orjson.loads(body[:size])
    assert head["inputs"][0]["parameters"] == {"binary_data_size": X.nbytes}
    assert head["parameters"] == {"binary_data_output": True}
    assert body[size:] == X.tobytes()
    assert np.array_equal(BINARY.decode(body, X.size), X.ravel())


@pytest.mark.parametrize("answer", [{"y": X.tolist()}, X.tolist()])
def test_plain_json_is_nested_lists(answer: object) -> None:
    _, body = PLAIN.encode("x", X)
    assert np.array_equal(np.float32(orjson.loads(body)["x"]), X)
    assert np.array_equal(PLAIN.decode(orjson.dumps(answer), X.size), X.ravel())


@pytest.mark.parametrize("name", list(networks()))
def test_a_shared_file_takes_the_same_samples_and_is_smaller(name: str, tmp_path: Path) -> None:
    files = write(name, tmp_path)
    x = files["dense"].samples(3)
    assert [files[form].answer(x).shape for form in FORMS] == [(3, 10), (3, 10)]
    sizes = [(tmp_path / form / "1" / "model.onnx").stat().st_size for form in FORMS]
    assert sizes[0] > 10 * sizes[1]


def test_the_shared_file_of_a_job_takes_the_place_of_the_one_made_here(tmp_path: Path) -> None:
    write("mlp", tmp_path / "first")
    own = tmp_path / "first" / "dense" / "1" / "model.onnx"
    write("mlp", tmp_path / "second", own)
    found = tmp_path / "second" / "shared" / "1" / "model.onnx"
    assert found.read_bytes() == own.read_bytes()


def test_a_server_is_asked_for_each_file_in_each_of_its_ways(tmp_path: Path) -> None:
    files = write("mlp", tmp_path)
    ours, nothing, _ = SERVERS
    every = list(asked(ours, 1, files, [1, 32]))
    ways = [Way(name, batch) for batch in (1, 32) for name in ("JSON", "binary")]
    assert [(one.form, one.way) for one in every] == [(f, w) for f in FORMS for w in ways]
    assert {one.request.path for one in every} == {f"/v2/models/{f}/infer" for f in FORMS}
    for one in every:
        assert one.expected is not None
        assert one.expected.shape == (one.way.batch, 10)
    (empty,) = asked(nothing, 1, files, [1, 32])
    assert (empty.way, empty.request.body) == (NO_WAY, b"")


def test_a_peer_has_the_onnx_runtime_that_ours_has() -> None:
    runtime = onnxruntime.__version__
    assert {peer.packages[1] for peer in PEERS.values()} == {f"onnxruntime=={runtime}"}
