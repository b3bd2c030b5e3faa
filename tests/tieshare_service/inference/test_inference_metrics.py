"""Prometheus' text format, to the letter."""

from tieshare_service.inference.metrics import BUCKETS_S, Metrics


def test_nothing_answered_gives_no_samples_but_the_gauge() -> None:
    lines = Metrics().render(0).splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["tieshare_ready_versions 0"]


def test_answers_failures_and_times_are_counted_by_label() -> None:
    metrics = Metrics()
    metrics.answered(200)
    metrics.answered(200)
    metrics.answered(404)
    metrics.failed("m", 2)
    metrics.inferred("m", 1, 0.25)
    metrics.inferred("m", 1, 0.0005)
    metrics.inferred("m", 1, 60.0)
    lines = metrics.render(3).splitlines()
    assert 'tieshare_http_answers_total{status="200"} 2' in lines
    assert 'tieshare_http_answers_total{status="404"} 1' in lines
    assert 'tieshare_inference_failures_total{model="m",version="2"} 1' in lines
    name = "tieshare_inference_seconds"
    assert f'{name}_bucket{{model="m",version="1",le="0.0003"}} 0' in lines
    assert f'{name}_bucket{{model="m",version="1",le="0.001"}} 1' in lines
    assert f'{name}_bucket{{model="m",version="1",le="0.3"}} 2' in lines
    assert f'{name}_bucket{{model="m",version="1",le="10"}} 2' in lines
    assert f'{name}_bucket{{model="m",version="1",le="+Inf"}} 3' in lines
    assert f'{name}_sum{{model="m",version="1"}} 60.2505' in lines
    assert f'{name}_count{{model="m",version="1"}} 3' in lines
    assert sum(line.startswith(f"{name}_bucket") for line in lines) == len(BUCKETS_S) + 1


def test_a_time_on_a_bound_falls_below_it() -> None:
    metrics = Metrics()
    metrics.inferred("m", 1, 0.001)
    assert 'le="0.001"} 1' in metrics.render(0)


def test_label_values_are_escaped() -> None:
    metrics = Metrics()
    metrics.failed('a"b\\c\nd', 1)
    assert r'{model="a\"b\\c\nd",version="1"} 1' in metrics.render(0)
