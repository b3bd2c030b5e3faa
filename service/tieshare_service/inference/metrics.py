"""Statistics in Prometheus' text format, under the names that Triton has for them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import orjson

from tieshare_service.inference.statistics import REASONS, Histogram, ModelStatistics

_Model = tuple[str, int]

_COUNTERS: Mapping[str, tuple[str, Callable[[ModelStatistics], int]]] = {
    "request_success": ("Inference requests answered.", lambda one: one.answered.count),
    "count": ("Samples answered.", lambda one: one.rows),
    "exec_count": ("Runs of the model.", lambda one: one.runs),
}
_DURATIONS = {
    "request": ("success", "Microseconds of the requests answered."),
    "queue": ("queue", "Microseconds that requests waited for their run."),
    "compute_input": ("compute_input", "Microseconds from bodies to tensors."),
    "compute_infer": ("compute_infer", "Microseconds of runs."),
    "compute_output": ("compute_output", "Microseconds from tensors to answers."),
}
_HISTOGRAMS = {
    "tieshare_inference_seconds": ("inference", "Time from a request's body to its answer."),
    "tieshare_queue_seconds": ("queue", "Time that a request waited for its run."),
    "tieshare_compute_seconds": ("compute", "Time of the run that answered a request."),
    "tieshare_batch_rows": ("batch", "Samples in a run."),
}


class Metrics:
    """What was answered since the process began; used from the event loop only.

    ``there``: tells which versions there are; what was counted of others is forgotten in time.
    """

    def __init__(self, there: Callable[[], Collection[_Model]] | None = None) -> None:
        self._there = there
        self._answers: Counter[int] = Counter()
        self._models: dict[_Model, ModelStatistics] = {}

    def answered(self, status: int) -> None:
        """One HTTP answer of any route."""
        self._answers[status] += 1

    def of(self, model: str, version: int) -> ModelStatistics:
        """Those of one version, which is there."""
        known = self._models.get((model, version))
        if known is None:
            if self._there is not None:
                there = self._there()
                self._models = {key: one for key, one in self._models.items() if key in there}
            known = self._models[model, version] = ModelStatistics()
        return known

    def dump(self) -> bytes:
        """All of it, for ``joined`` of another process."""
        models = [[*key, one.plain()] for key, one in self._models.items()]
        return orjson.dumps({"answers": [*self._answers.items()], "models": models})

    def joined(self, dumps: Iterable[bytes]) -> "Metrics":
        """These and those of other processes in one."""
        whole = Metrics()
        for dump in (self.dump(), *dumps):
            known = orjson.loads(dump)
            whole._answers.update(dict(known["answers"]))
            for name, version, plain in known["models"]:
                whole.of(name, version).add(plain)
        return whole

    def render(self, ready: int, loaded: int, loaded_bytes: int) -> str:
        """The text of ``/metrics``."""
        lines = [
            *_head("tieshare_ready_versions", "gauge", "Model versions that answer."),
            f"tieshare_ready_versions {ready}",
            *_head("tieshare_loaded_versions", "gauge", "Those of them that are in memory."),
            f"tieshare_loaded_versions {loaded}",
            *_head("tieshare_loaded_bytes", "gauge", "What these take of memory."),
            f"tieshare_loaded_bytes {loaded_bytes}",
            *_head("tieshare_http_answers_total", "counter", "HTTP answers by status."),
        ]
        for status, count in sorted(self._answers.items()):
            lines.append(f'tieshare_http_answers_total{{status="{status}"}} {count}')
        models = sorted(self._models.items())
        for name, (text, value) in _COUNTERS.items():
            lines += _head(f"nv_inference_{name}", "counter", text)
            lines += (f"nv_inference_{name}{{{_labels(key)}}} {value(one)}" for key, one in models)
        for part, (kind, text) in _DURATIONS.items():
            name = f"nv_inference_{part}_duration_us"
            lines += _head(name, "counter", text)
            for key, one in models:
                us = one.durations()[kind]["ns"] // 1000
                lines.append(f"{name}{{{_labels(key)}}} {us}")
        name = "nv_inference_request_failure"
        lines += _head(name, "counter", "Inference requests refused.")
        for key, one in models:
            for reason in REASONS:
                labels = f'{_labels(key)},reason="{reason}"'
                lines.append(f"{name}{{{labels}}} {one.failures[reason]}")
        for name, (kind, text) in _HISTOGRAMS.items():
            lines += _head(name, "histogram", text)
            for key, one in models:
                lines += _histogram(name, _labels(key), one.histograms[kind])
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _histogram(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f'{name}_bucket{{{labels},le="{le}"}} {total}'
    yield f"{name}_sum{{{labels}}} {histogram.total:.9g}"
    yield f"{name}_count{{{labels}}} {total}"


def _labels(key: _Model) -> str:
    name = key[0].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'model="{name}",version="{key[1]}"'
