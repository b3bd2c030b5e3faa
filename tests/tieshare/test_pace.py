import math
from collections.abc import Iterable

import numpy as np
import pytest

from tieshare.pace import Living, Pace, strongest
from tieshare.penalties import PENALTIES, OrderedRows

EVEN = math.log(16.0) / 10  # of a pace to 16 in ten turns


def pace(**given: float) -> Pace:
    known = {"strength": 1.0, "last": 16.0, "left": 10, "shrinkings": 5} | given
    return Pace(**known)  # type: ignore[arg-type]


def living(norms: Iterable[float], *, penalty: str = "group_lasso") -> Living:
    """Rows of ten weights with these norms."""
    values = np.array(list(norms))
    made = PENALTIES[penalty](len(values), 0.0)  # type: ignore[index]
    assert isinstance(made, OrderedRows)
    return Living(made, values, np.full(len(values), 10.0))


def allowed(walk: Pace) -> float:
    """Log of the factor by which it may shrink now."""
    return -math.log1p(-walk.share())


def test_each_shrinking_may_take_its_part_of_one_and_a_half_times_an_even_pace() -> None:
    walk = pace()
    assert allowed(walk) == pytest.approx(1.5 * EVEN / 5)
    walk.shrunk(math.exp(1.5 * EVEN / 5), walk.strength)
    assert allowed(walk) == pytest.approx(1.5 * EVEN / 5)


def test_what_is_not_used_is_kept_for_a_turn() -> None:
    walk = pace()
    grown = [allowed(walk) for _ in range(8)]
    assert grown == pytest.approx([1.5 * EVEN * min(part, 5) / 5 for part in range(1, 9)])


def test_what_went_too_far_is_paid_back_before_more_goes() -> None:
    walk = pace()
    walk.shrunk(math.exp(1.5 * EVEN), walk.strength)
    shares = [walk.share() for _ in range(6)]
    assert shares[:5] == pytest.approx([0.0] * 5, abs=1e-12)
    assert shares[5] > 0


def test_an_even_way_raises_the_strength_a_little() -> None:
    walk = pace()
    walk.shrunk(math.exp(EVEN), walk.strength)
    walk.turn()
    assert walk.strength == pytest.approx(math.exp(0.05))


def test_where_the_network_shrinks_too_slowly_the_strength_rises_to_a_limit() -> None:
    walk = pace()
    walk.turn()
    assert walk.strength == pytest.approx(math.exp(0.2))


def test_where_it_shrinks_too_fast_the_strength_falls_to_a_limit() -> None:
    walk = pace()
    walk.shrunk(4.0, walk.strength)
    walk.turn()
    assert walk.strength == pytest.approx(math.exp(-0.4))


def test_where_not_all_of_the_strength_might_be_used_it_falls() -> None:
    half, none = pace(), pace()
    half.shrunk(math.exp(EVEN), 0.8)
    none.shrunk(math.exp(EVEN), 0.0)
    for walk in (half, none):
        walk.turn()
    assert half.strength == pytest.approx(0.8 * math.exp(0.05))
    assert none.strength == pytest.approx(math.exp(-0.4))


def test_the_way_that_is_left_is_spread_over_the_turns_that_are_left() -> None:
    walk = pace(left=2)
    walk.turn()
    assert allowed(walk) == pytest.approx(1.5 * math.log(16.0) / 5)


def test_at_the_last_ratio_nothing_more_goes() -> None:
    walk = pace()
    walk.shrunk(20.0, walk.strength)
    walk.turn()
    assert walk.share() == 0
    assert walk.strength < 1


def test_it_goes_on_after_the_last_turn() -> None:
    walk = pace(left=1)
    walk.turn()
    walk.turn()
    assert math.isfinite(walk.strength)
    assert 0 <= walk.share() < 1


def test_half_of_what_may_be_lost_halves_the_pace() -> None:
    walk = pace()
    walk.lost(0.25)
    assert walk.strain == 0.5
    assert allowed(walk) == pytest.approx(0.5 * 1.5 * EVEN / 5)


def test_half_of_it_may_be_lost_at_the_start_and_all_at_the_end() -> None:
    walk = pace(left=4)
    found = []
    for _ in range(5):
        walk.strain = 0.0
        walk.lost(0.25)
        found.append(walk.strain)
        walk.turn()
    assert found == pytest.approx([0.25 / part for part in (0.5, 0.625, 0.75, 0.875, 1)])


def test_a_loss_is_heeded_at_once_and_forgotten_slowly() -> None:
    walk = pace()
    walk.lost(0.4)
    walk.lost(0.2)
    assert walk.strain == pytest.approx((0.8 + 0.4) / 2)
    walk.lost(0.5)
    assert walk.strain == 1


def test_a_network_that_lost_all_that_it_may_has_time_to_recover() -> None:
    walk = pace()
    for _ in range(9):
        walk.lost(1.5)
    walk.turn()
    assert walk.share() == 0
    assert walk.strength < 1
    for _ in range(9):
        walk.lost(-0.2)
    assert walk.share() > 0


def test_after_a_step_back_it_is_weaker_and_rises_slower() -> None:
    walk = pace()
    walk.back()
    assert walk.strength == 0.5
    walk.turn()
    assert walk.strength == pytest.approx(0.5 * math.exp(0.1))


def test_a_restored_pace_goes_on_as_before() -> None:
    whole, second = pace(), pace(strength=9.0)
    whole.lost(0.4)
    whole.back()
    whole.share()
    whole.shrunk(1.7, whole.strength)
    whole.turn()
    second.restore(whole.state())
    for walk in (whole, second):
        walk.share()
        walk.shrunk(2.2, walk.strength)
        walk.turn()
    assert whole.state() == second.state()
    assert whole.share() == second.share()


def test_a_strength_at_which_little_dies_stays() -> None:
    layers = [living([0.1, 1.0, 2.0, 3.0])]
    assert strongest(layers, 0.5, 1.0, most=10) == 0.5


def test_a_strength_is_lowered_until_no_more_dies_than_may() -> None:
    layers = [living([0.1, 0.2, 0.3, 4.0]), living([0.15, 0.25, 5.0, 6.0])]
    found = strongest(layers, 1.0, 1.0, most=20)
    assert 0.15 <= found < 0.2
    assert sum(layer.dying(found, 1.0) for layer in layers) == 20


def test_one_row_may_die_that_is_more_than_that() -> None:
    layers = [living([0.1, 0.2, 4.0])]
    found = strongest(layers, 1.0, 1.0, most=0.1)
    assert layers[0].dying(found, 1.0) == 10


def test_where_nothing_may_go_no_row_dies() -> None:
    layers = [living([0.1, 0.2, 4.0])]
    found = strongest(layers, 1.0, 1.0, most=0.0)
    assert 0.09 < found < 0.1
    assert layers[0].dying(found, 1.0) == 0


def test_dead_rows_do_not_count() -> None:
    layer = living([0.0, 0.0, 1.0, 2.0])
    assert layer.dying(1.5, 1.0) == 10


def test_ordered_weights_press_the_largest_rows_most() -> None:
    """So that fewer die than of equal weights of the same mean."""
    norms = np.linspace(0.1, 1.0, 10)
    growl, lasso = living(norms, penalty="growl"), living(norms)
    assert growl.dying(0.3, 1.0) < lasso.dying(0.3, 1.0)
    assert growl.dying(0.2, 0.5) == growl.dying(0.1, 1.0)
