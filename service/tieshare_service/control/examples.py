"""The examples in the OpenAPI document: one digits classifier on its way through the service."""

from typing import Any

from tieshare.recipe import Recipe, Target

_MODEL = "mdl_4tqzk2m7wcuax5hnb3ye"
_DATASET = "dat_hq6pd3rvj2xn7lobs5ka"
_JOB = "job_wz2f5ytkc7mpa3xqd6eu"
_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

SHORTEST_REQUEST: dict[str, Any] = {"model": _MODEL, "dataset": _DATASET}
FULL_REQUEST: dict[str, Any] = {
    "model": _MODEL,
    "dataset": _DATASET,
    "name": "digits",
    "target": {"max_drop": 0.005},
    "recipe": {
        "penalty": "oscar",
        "penalties": {"head": "group_lasso"},
        "l2": 1e-4,
        "tie_groups": [{"layer": "hidden", "rows": [0, 1, 2]}],
        "path_epochs": 40,
        "seed": 7,
    },
}
PROBLEM: dict[str, Any] = {
    "type": "https://tieshare.dev/problems/model-unsupported-operator",
    "title": "Model unsupported operator",
    "status": 422,
    "detail": "node 'fft': operator DFT at opset 20 can't be trained: it has no gradient here",
    "where": "fft",
}
MODEL: dict[str, Any] = {
    "id": _MODEL,
    "name": "digits",
    "sha256": _SHA256,
    "bytes": 86420,
    "created_at": "2026-03-02T09:15:04.250000Z",
    "tenant": "",
    "parameters": 21210,
    "opset": 20,
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 64]}],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 10]}],
    "layers": [
        {"name": "hidden", "operator": "Gemm", "rows": 64, "columns": 282},
        {"name": "head", "operator": "Gemm", "rows": 282, "columns": 10},
    ],
}
DATASET: dict[str, Any] = {
    "id": _DATASET,
    "name": "digits",
    "sha256": _SHA256,
    "bytes": 474880,
    "created_at": "2026-03-02T09:15:05.750000Z",
    "tenant": "",
    "samples": 1437,
    "arrays": [
        {"name": "x", "dtype": "float32", "shape": [1437, 64]},
        {"name": "y", "dtype": "int64", "shape": [1437]},
    ],
}
_RECIPE = Recipe(target=Target(max_drop=0.005)).to_dict()
PLAN: dict[str, Any] = {"name": "digits", "model": _MODEL, "dataset": _DATASET, "recipe": _RECIPE}
FRONT: list[dict[str, Any]] = [
    {
        "point": 1,
        "unique_parameters": 5130,
        "compression_ratio": 4.1,
        "bytes": 21930,
        "packed_bytes": 7410,
        "macs": 5010,
        "latency_us": {"1": 6.2, "32": 21.4},
        "accuracy": 0.9785,
        "loss": None,
        "chosen": False,
    },
    {
        "point": 2,
        "unique_parameters": 1980,
        "compression_ratio": 10.7,
        "bytes": 9216,
        "packed_bytes": 3570,
        "macs": 1890,
        "latency_us": {"1": 5.8, "32": 14.9},
        "accuracy": 0.974,
        "loss": None,
        "chosen": False,
    },
]
JOB: dict[str, Any] = {
    "id": _JOB,
    **PLAN,
    "status": "running",
    "stage": "retrain",
    "progress": {"done": 12, "total": 40, "unit": "epochs", "eta_s": 21.5},
    "metrics": {"accuracy": 0.974, "alive_rows": 163.0, "clusters": 58.0},
    "front": FRONT,
    "attempt": 1,
    "error": None,
    "result": None,
    "created_at": "2026-03-02T09:15:06.500000Z",
    "started_at": "2026-03-02T09:15:06.750000Z",
    "ended_at": None,
    "tenant": "",
}
EVENTS: dict[str, Any] = {
    "items": [
        {
            "seq": 1,
            "at": "2026-03-02T09:15:06.500000Z",
            "type": "status",
            "data": {"status": "queued", "attempt": 0},
        },
        {
            "seq": 2,
            "at": "2026-03-02T09:15:06.750000Z",
            "type": "status",
            "data": {"status": "running", "attempt": 1},
        },
    ],
    "last": 2,
}
EVENT_STREAM = """\
id: 1
event: status
data: {"status":"queued","attempt":0}

id: 2
event: status
data: {"status":"running","attempt":1}

"""
ARTIFACTS: dict[str, Any] = {
    "items": [
        {"name": name, "sha256": _SHA256, "bytes": size}
        for name, size in (
            ("front.png", 48210),
            ("front.svg", 20480),
            ("packed.onnx", 3570),
            ("point-1.packed.onnx", 7410),
            ("point-1.shared.onnx", 21930),
            ("point-1.tied.onnx", 86420),
            ("point-2.packed.onnx", 3570),
            ("point-2.shared.onnx", 9216),
            ("point-2.tied.onnx", 86420),
            ("report.json", 5120),
            ("shared.onnx", 9216),
            ("tied.onnx", 86420),
        )
    ],
    "next_page_token": None,
}

# By the name of the schema.
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "JobRequest": [SHORTEST_REQUEST, FULL_REQUEST],
    "Model": [MODEL],
    "Dataset": [DATASET],
    "Job": [JOB],
    "JobPlan": [PLAN],
    "PublishRequest": [{"point": 1}, {"point": 2, "file": "packed"}],
    "EventPage": [EVENTS],
    "ArtifactPage": [ARTIFACTS],
    "Problem": [PROBLEM],
}
