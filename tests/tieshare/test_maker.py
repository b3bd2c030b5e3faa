from collections.abc import Callable

import pytest

from tieshare.crew import Processes
from tieshare.job import Job
from tieshare.maker import Maker
from tieshare.progress import Progress
from tieshare.recipe import Target
from tieshare.search import Point

Ready = Callable[..., Job]
LAYERS = ("Gemm_0", "Gemm_2")
CREW = Processes()
USUAL, LOOSE, COARSE = Point(3, 0.6), Point(3, 0.0), Point(3, 0.6, bits=4)
ALL = [USUAL, LOOSE, COARSE]


def test_candidates_come_in_the_order_of_their_points(ready: Ready) -> None:
    maker = Maker(ready(), LAYERS, CREW)
    assert [item.point for item in maker.make(ALL)] == ALL
    assert {item.point for item in maker.candidates} == set(ALL)


def test_the_front_is_told_where_it_grew(ready: Ready) -> None:
    heard: list[Progress] = []
    maker = Maker(ready(listener=heard.append), LAYERS, CREW)
    for point in ALL:
        maker.make([point])
    fronts = [item.front for item in heard if item.front is not None]
    assert [item.front is None for item in heard[:5]] == [True] * 4 + [False]
    assert [point.point for point in fronts[-1]] == [*range(1, len(fronts[-1]) + 1)]
    assert not any(point.chosen for front in fronts for point in front)
    assert [(it.bytes, it.packed_bytes, it.accuracy) for it in fronts[-1]] == [
        (it.bytes, it.packed_bytes, it.candidate.score) for it in maker.front()
    ]


def test_the_front_holds_no_beaten_point(ready: Ready) -> None:
    maker = Maker(ready(), LAYERS, CREW)
    maker.make([USUAL, LOOSE, COARSE, Point(3, 0.3), Point(3, 0.3, bits=4), Point(3, 0.6, 16)])
    front = maker.front()
    assert 2 <= len(front) <= 6
    assert not any(one.beats(other) for one in maker.files.values() for other in front)


def test_no_files_are_made_of_what_is_no_smaller_and_no_better_than_another(ready: Ready) -> None:
    maker = Maker(ready(), LAYERS, CREW)
    made = maker.make([Point(3, preference, bits) for preference in (0.6, 0.0) for bits in (8, 4)])
    for item in made:
        others = [other for other in made if other is not item]
        smaller = [it for it in others if it.unique <= item.unique]
        smaller = [it for it in smaller if it.point.bits <= item.point.bits]
        assert (item.point in maker.files) != any(it.score >= item.score for it in smaller)


@pytest.mark.parametrize("apart", [False, True])
def test_of_two_points_with_the_same_network_one_has_files(ready: Ready, apart: bool) -> None:
    alike = [USUAL, Point(3, 0.6 - 1e-6)]
    maker = Maker(ready(), LAYERS, CREW)
    one, other = [*maker.make(alike[:1]), *maker.make(alike[1:])] if apart else maker.make(alike)
    assert one.tied.SerializeToString() == other.tied.SerializeToString()
    assert len(maker.files) == len(maker.front()) == 1


def test_files_are_made_once(ready: Ready) -> None:
    maker = Maker(ready(), LAYERS, CREW)
    (candidate,) = maker.make([USUAL])
    assert maker.files_of(candidate) is maker.files_of(candidate) is maker.files[USUAL]


def test_a_ratio_is_known_before_a_point_is_retrained(ready: Ready) -> None:
    ratio = Maker(ready(), LAYERS, CREW).points.ratio(USUAL)
    for wanted, fits in ((ratio, True), (ratio + 1e-9, False)):
        maker = Maker(ready(target=Target(min_ratio=wanted)), LAYERS, CREW)
        assert maker.fits(USUAL) is fits
        maker.make([USUAL])
        assert maker.fits(USUAL) is fits


@pytest.mark.parametrize("point", ALL)
def test_bytes_are_near_before_a_point_is_retrained_and_exact_afterwards(
    ready: Ready, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    monkeypatch.setattr("tieshare.bits.ALLOWED", 1.0)
    (made,) = Maker(ready("made"), LAYERS, CREW).make([point])
    size = Maker(ready("made"), LAYERS, CREW).files_of(made).packed_bytes

    def fits(most: float, *, retrained: bool) -> bool:
        job = ready("made" if retrained else "new", target=Target(max_bytes=round(most)))
        maker = Maker(job, LAYERS, CREW)
        if retrained:
            maker.files_of(made)
        return maker.fits(point)

    assert fits(size, retrained=True)
    assert not fits(size - 1, retrained=True)
    assert fits(1.15 * size, retrained=False)
    assert not fits(0.85 * size, retrained=False)


@pytest.mark.parametrize(("most", "fits"), [(1e6, True), (1e-3, False)])
def test_a_latency_is_measured_before_and_after_a_point_is_retrained(
    ready: Ready, most: float, fits: bool
) -> None:
    maker = Maker(ready(target=Target(max_latency_us=most)), LAYERS, CREW)
    assert maker.fits(USUAL) is fits
    maker.make([USUAL])
    assert maker.fits(USUAL) is fits


def test_a_latency_asked_for_is_that_of_one_sample(ready: Ready) -> None:
    maker = Maker(ready(), LAYERS, CREW)
    found = maker.files_of(maker.points.dense())
    one, many = found.latency_us[1], found.latency_us[32]
    between = Maker(ready(target=Target(max_latency_us=(one + many) / 2)), LAYERS, CREW)
    between.files[USUAL] = found
    assert (between.fits(USUAL)) is (one < many)


def test_what_a_job_had_retrained_is_not_retrained_when_it_goes_on(ready: Ready) -> None:
    first = Maker(ready(), LAYERS, CREW).make(ALL[:2])
    heard: list[Progress] = []
    maker = Maker(ready(listener=heard.append), LAYERS, CREW)
    again = maker.make(ALL)
    assert [item.tied.SerializeToString() for item in again[:2]] == [
        item.tied.SerializeToString() for item in first
    ]
    # the third has the first one's epoch and ties: it goes on from where that was rounded
    assert [item.done for item in heard if item.front is None] == [4]
    assert heard[-1].front is not None


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 2), (3, 3), (16, 4)])
def test_long_points_are_retrained_at_once_as_there_are_threads(
    ready: Ready, monkeypatch: pytest.MonkeyPatch, threads: int, at_once: int
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    assert Maker(ready("short"), LAYERS, CREW).at_once == 1
    # 3 x 2,368 multiplications of about 1,400 samples in 12,500 epochs
    assert Maker(ready("long", retrain_epochs=10_000), LAYERS, CREW).at_once == at_once


@pytest.mark.slow
def test_points_made_at_once_are_bit_for_bit_those_made_one_by_one(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Progress] = []
    expected = Maker(ready("alone"), LAYERS, CREW).make(ALL[:2])
    monkeypatch.setattr("tieshare.maker._WORTH_A_PROCESS", 0.0)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    made = Maker(ready("together", heard.append), LAYERS, CREW).make(ALL[:2])
    for one, other in zip(made, expected, strict=True):
        assert one.tied.SerializeToString() == other.tied.SerializeToString()
        assert (one.point, one.bits, one.score) == (other.point, other.bits, other.score)
    trained = [(item.done, item.total) for item in heard if item.front is None]
    assert trained == [(done, 8) for done in range(1, 9)]
    assert heard[-1].front is not None
