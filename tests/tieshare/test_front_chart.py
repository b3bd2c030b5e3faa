import math
import re
import struct
import sys
from dataclasses import replace
from functools import cache

import matplotlib as mpl
import numpy as np
import pytest

from tieshare.errors import MissingExtra, TieshareError
from tieshare.exports.count import Counts
from tieshare.front_chart import PACKED, SHARED, png, svg
from tieshare.report import FileReport, FrontPoint, HeldOut, Report
from tieshare.score import Score


def of_labels(points: int, chosen: int = 1) -> Report:
    """A front from 190 KB down to 9 KB, of accuracy 98.4 % and less; the dense model has 98.3 %."""
    sizes = np.geomspace(190_000, 9_000, points)
    front = tuple(
        FrontPoint(
            point=number,
            unique_parameters=int(size / 4),
            compression_ratio=958_268 / size,
            bytes=int(size),
            packed_bytes=int(size / 4),
            macs=int(size / 4),
            latency_us={1: 10 + size / 20_000, 32: 60.0},
            accuracy=0.985 - 100 / size,
            chosen=number == chosen,
        )
        for number, size in enumerate(sizes, 1)
    )
    counts = Counts(238_510, 238_510, 0, 238_510)
    file = FileReport.of(958_268, counts, Score(accuracy=0.98), {1: 30.8, 32: 190.0})
    accuracy = front[chosen - 1].accuracy or 0.0
    return Report(
        baseline=file,
        tied=file,
        shared=file,
        packed=file,
        paper_ratio=60.0,
        front=front,
        held_out=HeldOut(6_000, drop=0.983 - accuracy, standard_error=5e-4, accuracy=accuracy),
    )


def of_numbers(points: int) -> Report:
    """The same front with the loss 1 - accuracy; the dense model has 0.01."""
    labels = of_labels(points)
    front = [replace(p, accuracy=None, loss=1 - (p.accuracy or 0.0)) for p in labels.front]
    loss = front[0].loss or 0.0
    return replace(
        labels,
        baseline=replace(labels.baseline, accuracy=None, loss=0.01),
        front=tuple(front),
        held_out=HeldOut(6_000, drop=loss / 0.01 - 1, standard_error=0.01, loss=loss),
    )


@cache
def drawn(points: int, chosen: int = 1) -> str:
    return svg(of_labels(points, chosen))


def texts(picture: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", picture)


def middles(picture: str, colour: str) -> list[tuple[str, float, float]]:
    """The numbers of one colour and where they stand, in typographic points from the upper left."""
    pattern = rf'fill: {colour}" x="([\d.]+)" y="([\d.]+)"[^>]*>(\d+)<'
    return [(name, float(x), float(y)) for x, y, name in re.findall(pattern, picture)]


def test_one_report_gives_the_same_svg_every_time() -> None:
    assert svg(Report.from_dict(of_labels(2).to_dict())) == drawn(2)


def test_one_report_gives_the_same_png_of_the_size_that_is_promised() -> None:
    picture = png(of_labels(2))
    assert png(of_labels(2)) == picture
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (1500, 675)


def test_the_svg_tells_no_date_and_no_version() -> None:
    picture = drawn(12)
    assert "dc:date" not in picture
    assert mpl.__version__ not in picture


@pytest.mark.parametrize("points", [1, 2, 12])
def test_every_point_is_numbered_in_both_series_and_over_latency(points: int) -> None:
    picture = drawn(points)
    numbers = [str(number) for number in range(1, points + 1)]
    assert [name for name, _, _ in middles(picture, SHARED)] == numbers + numbers
    assert [name for name, _, _ in middles(picture, PACKED)] == numbers


def test_no_number_covers_another() -> None:
    report = of_labels(12)
    close = [replace(p, bytes=20_000 - 100 * p.point, accuracy=0.98) for p in report.front]
    picture = svg(replace(report, front=tuple(close)))
    found = middles(picture, SHARED) + middles(picture, PACKED)
    assert len(found) == 36
    for index, (name, x, y) in enumerate(found):
        for other, other_x, other_y in found[:index]:
            width = 5 * (len(name) + len(other)) / 2
            assert abs(x - other_x) >= width or abs(y - other_y) >= 7, (name, other)


def test_the_chosen_point_is_compared_with_the_dense_file() -> None:
    report = of_labels(3, chosen=2)
    point = report.front[1]
    shown = texts(drawn(3, chosen=2))
    smaller, packed = 958_268 / point.bytes, 958_268 / point.packed_bytes
    assert f"Size: chosen {smaller:.1f}x smaller, packed {packed:.1f}x" in shown
    assert f"Speed: chosen {30.8 / point.latency_us[1]:.1f}x faster" in shown
    assert {"dense model", "shared file", "packed file", "chosen"} <= set(shown)


def test_sizes_and_times_are_told_in_round_units() -> None:
    shown = texts(drawn(12))
    assert {"3 KB", "10 KB", "30 KB", "100 KB", "300 KB", "1 MB"} <= set(shown)
    assert {"15 µs", "20 µs", "30 µs"} <= set(shown)


def test_the_dense_line_lies_where_the_held_out_accuracy_of_the_dense_model_is() -> None:
    line = r'd="M [\d.]+ ([\d.]+) \nL [\d.]+ \1 \n"[^>]*stroke-dasharray'
    (height,) = {float(y) for y in re.findall(line, drawn(12))}
    tick = r'text-anchor: end[^>]*? y="([\d.]+)"[^>]*>(\d\d\.\d+)<'
    labels = sorted((float(score), float(y)) for y, score in re.findall(tick, drawn(12)))
    scores, baselines = zip(*labels, strict=True)
    assert len(labels) >= 4
    # The line through a tick is 3.4 points above the baseline of its label.
    expected = np.interp(98.3, scores, baselines) - 3.4
    assert height == pytest.approx(expected, abs=0.3)


def test_no_scale_goes_beyond_all_right() -> None:
    report = of_labels(2)
    perfect = tuple(replace(point, accuracy=1.0) for point in report.front)
    held = HeldOut(6_000, drop=0.0, standard_error=0.0, accuracy=1.0)
    shown = texts(svg(replace(report, front=perfect, held_out=held)))
    scores = [float(text) for text in shown if re.fullmatch(r"\d+\.\d+", text)]
    assert max(scores) == 100.0


def test_a_regression_shows_its_loss() -> None:
    shown = texts(svg(of_numbers(5)))
    assert "loss on held-out data, lower is better" in shown
    scores = [float(text) for text in shown if re.fullmatch(r"0\.\d+", text)]
    assert min(scores) <= 0.01
    assert math.isclose(max(scores), 0.026, abs_tol=0.002)


def test_a_fixed_batch_is_named() -> None:
    report = of_labels(2)
    front = tuple(replace(point, latency_us={8: 2_000.0 / point.point}) for point in report.front)
    baseline = replace(report.baseline, latency_us={8: 4_000.0})
    shown = texts(svg(replace(report, front=front, baseline=baseline)))
    assert "time of one call at batch 8, one thread" in shown
    assert {"1 ms", "2 ms", "4 ms"} <= set(shown)


def test_a_report_with_no_front_shows_the_dense_model_alone() -> None:
    bare = replace(of_labels(1), front=(), held_out=None)
    assert middles(svg(bare), SHARED) == []
    assert "1 MB" in texts(svg(bare))


def test_the_users_settings_neither_show_nor_change() -> None:
    expected = drawn(2)
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20}):
        assert svg(of_labels(2)) == expected
        assert mpl.rcParams["font.size"] == 20


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tieshare\[plot\]'") as caught:
        png(of_labels(1))
    assert isinstance(caught.value, TieshareError)
    assert caught.value.where == "plot"
