"""Counts and times, in Prometheus' text format."""

from bisect import bisect_left
from collections import Counter, defaultdict

BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

_Model = tuple[str, int]


class Metrics:
    """What was answered since the process began; used from the event loop only."""

    def __init__(self) -> None:
        self._answers: Counter[int] = Counter()
        self._failures: Counter[_Model] = Counter()
        self._seconds: defaultdict[_Model, float] = defaultdict(float)
        self._buckets: defaultdict[_Model, list[int]] = defaultdict(
            lambda: [0] * (len(BUCKETS_S) + 1)
        )

    def answered(self, status: int) -> None:
        """One HTTP answer of any route."""
        self._answers[status] += 1

    def inferred(self, model: str, version: int, seconds: float) -> None:
        """One successful inference, from its whole body to its whole answer."""
        key = (model, version)
        self._seconds[key] += seconds
        self._buckets[key][bisect_left(BUCKETS_S, seconds)] += 1

    def failed(self, model: str, version: int) -> None:
        """One inference request to a ready model that was refused."""
        self._failures[model, version] += 1

    def render(self, ready_models: int) -> str:
        """The text of ``/metrics``."""
        lines = [
            "# HELP tieshare_ready_versions Model versions that answer.",
            "# TYPE tieshare_ready_versions gauge",
            f"tieshare_ready_versions {ready_models}",
            "# HELP tieshare_http_answers_total HTTP answers by status.",
            "# TYPE tieshare_http_answers_total counter",
        ]
        for status, count in sorted(self._answers.items()):
            lines.append(f'tieshare_http_answers_total{{status="{status}"}} {count}')
        lines += [
            "# HELP tieshare_inference_failures_total Inference requests refused.",
            "# TYPE tieshare_inference_failures_total counter",
        ]
        for key, count in sorted(self._failures.items()):
            lines.append(f"tieshare_inference_failures_total{{{_labels(key)}}} {count}")
        lines += [
            "# HELP tieshare_inference_seconds Time from a request's body to its answer.",
            "# TYPE tieshare_inference_seconds histogram",
        ]
        for key, buckets in sorted(self._buckets.items()):
            lines += self._histogram(key, buckets)
        return "\n".join(lines) + "\n"

    def _histogram(self, key: _Model, buckets: list[int]) -> list[str]:
        labels, total, lines = _labels(key), 0, []
        for bound, count in zip((*BUCKETS_S, float("inf")), buckets, strict=True):
            total += count
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'tieshare_inference_seconds_bucket{{{labels},le="{le}"}} {total}')
        lines.append(f"tieshare_inference_seconds_sum{{{labels}}} {self._seconds[key]:.9g}")
        lines.append(f"tieshare_inference_seconds_count{{{labels}}} {total}")
        return lines


def _labels(key: _Model) -> str:
    name = key[0].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'model="{name}",version="{key[1]}"'
