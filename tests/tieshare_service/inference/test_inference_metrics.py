"""Prometheus' text format, to the letter, and the statistics of the protocol."""

import pytest

from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.statistics import BUCKETS_S, Times

US = 1000


def _times(total_us: int, rows: int = 1) -> Times:
    """A tenth of it in the queue and before, half of it in the run."""
    tenth = total_us * US // 10
    return Times(
        queue=tenth,
        input=tenth,
        infer=5 * tenth,
        output=3 * tenth,
        rows=rows,
        run_rows=rows,
        first=True,
    )


def test_nothing_answered_gives_no_samples_but_the_gauges() -> None:
    lines = Metrics().render(3, 2, 4096).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "tieshare_ready_versions 3",
        "tieshare_loaded_versions 2",
        "tieshare_loaded_bytes 4096",
    ]


def test_versions_that_went_are_forgotten_when_others_are_asked() -> None:
    there = {("m", 1), ("m", 2)}
    metrics = Metrics(lambda: there)
    metrics.of("m", 1).rows = 5
    metrics.of("m", 2)
    there.remove(("m", 1))
    assert metrics.of("m", 1).rows == 5
    there.add(("m", 3))
    metrics.of("m", 3)
    assert metrics.of("m", 1).rows == 0


def test_answers_are_counted_by_status() -> None:
    metrics = Metrics()
    for status in (200, 200, 404):
        metrics.answered(status)
    lines = metrics.render(3, 0, 0).splitlines()
    assert 'tieshare_http_answers_total{status="200"} 2' in lines
    assert 'tieshare_http_answers_total{status="404"} 1' in lines
    assert "tieshare_ready_versions 3" in lines


@pytest.fixture
def metrics() -> Metrics:
    """Three answers and two refusals."""
    made = Metrics()
    one = made.of("m", 1)
    for us, rows in ((250_000, 4), (500, 1), (60_000_000, 4)):
        one.succeeded(_times(us, rows))
    one.failed("OTHER", 7 * US)
    one.failed("BACKEND", 3 * US)
    return made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_success", 3),
        ("count", 9),
        ("exec_count", 3),
        ("request_duration_us", 60_250_500),
        ("queue_duration_us", 6_025_050),
        ("compute_input_duration_us", 6_025_050),
        ("compute_infer_duration_us", 30_125_250),
        ("compute_output_duration_us", 18_075_150),
    ],
)
def test_counters_have_tritons_names(metrics: Metrics, name: str, value: int) -> None:
    lines = metrics.render(1, 0, 0).splitlines()
    assert f'nv_inference_{name}{{model="m",version="1"}} {value}' in lines
    assert f"# TYPE nv_inference_{name} counter" in lines


def test_refusals_are_counted_by_reason(metrics: Metrics) -> None:
    lines = metrics.render(1, 0, 0).splitlines()
    for reason, count in (("OTHER", 1), ("BACKEND", 1), ("REJECTED", 0)):
        labels = f'model="m",version="1",reason="{reason}"'
        assert f"nv_inference_request_failure{{{labels}}} {count}" in lines


def test_times_and_batches_have_histograms(metrics: Metrics) -> None:
    lines = metrics.render(1, 0, 0).splitlines()
    name, labels = "tieshare_inference_seconds", 'model="m",version="1"'
    for bound, count in (("0.0003", 0), ("0.001", 1), ("0.3", 2), ("10", 2), ("+Inf", 3)):
        assert f'{name}_bucket{{{labels},le="{bound}"}} {count}' in lines
    assert f"{name}_sum{{{labels}}} 60.2505" in lines
    assert f"{name}_count{{{labels}}} 3" in lines
    assert sum(line.startswith(f"{name}_bucket") for line in lines) == len(BUCKETS_S) + 1
    assert f'tieshare_batch_rows_bucket{{{labels},le="2"}} 1' in lines
    assert f'tieshare_batch_rows_bucket{{{labels},le="4"}} 3' in lines
    assert f"tieshare_queue_seconds_sum{{{labels}}} 6.02505" in lines
    assert f"tieshare_compute_seconds_sum{{{labels}}} 30.12525" in lines


def test_a_time_on_a_bound_falls_below_it() -> None:
    metrics = Metrics()
    metrics.of("m", 1).succeeded(_times(1000))
    assert 'tieshare_inference_seconds_bucket{model="m",version="1",le="0.001"} 1' in (
        metrics.render(0, 0, 0)
    )


def test_label_values_are_escaped() -> None:
    metrics = Metrics()
    metrics.of('a"b\\c\nd', 1).failed("OTHER", 0)
    assert r'{model="a\"b\\c\nd",version="1"} 0' in metrics.render(0, 0, 0)


def test_the_statistics_of_a_version(metrics: Metrics) -> None:
    document = metrics.of("m", 1).document("m", 1)
    counts = {key: document[key] for key in ("name", "version", "inference_count")}
    assert counts == {"name": "m", "version": "1", "inference_count": 9}
    assert document["execution_count"] == 3
    assert document["last_inference"] > 1_600_000_000_000
    assert document["inference_stats"]["success"] == {"count": 3, "ns": 60_250_500 * US}
    assert document["inference_stats"]["fail"] == {"count": 2, "ns": 10 * US}
    batches = [(one["batch_size"], one["compute_infer"]) for one in document["batch_stats"]]
    assert batches == [
        (1, {"count": 1, "ns": 250 * US}),
        (4, {"count": 2, "ns": 30_125_000 * US}),
    ]


def test_the_statistics_of_a_version_that_nobody_asked() -> None:
    document = Metrics().of("m", 2).document("m", 2)
    assert (document["last_inference"], document["batch_stats"]) == (0, [])
    assert document["inference_stats"]["success"] == {"count": 0, "ns": 0}
