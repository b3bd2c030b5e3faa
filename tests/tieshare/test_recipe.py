import math
from collections.abc import Callable
from typing import Any, get_args

import pytest

from tieshare.errors import RecipeError
from tieshare.penalties import PENALTIES
from tieshare.recipe import Augment, PenaltyName, Recipe, Target

NAN, INFINITY = math.nan, math.inf


def refused(make: Callable[[], object]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        make()
    assert caught.value.type == "recipe-invalid"
    return caught.value


def test_nothing_need_be_said() -> None:
    assert Recipe().target == Target(max_drop=0.01)
    assert Recipe.from_dict({}) == Recipe()


def test_a_target_is_exactly_one_of_two() -> None:
    assert refused(Target).where == "target"
    assert refused(lambda: Target(max_drop=0.01, min_ratio=2.0)).where == "target"


@pytest.mark.parametrize("max_drop", [-1e-9, 1.0, NAN, INFINITY])
def test_a_loss_is_a_fraction_below_one(max_drop: float) -> None:
    assert refused(lambda: Target(max_drop=max_drop)).where == "target.max_drop"


@pytest.mark.parametrize("min_ratio", [0.999, 0.0, -3.0, NAN])
def test_a_ratio_is_at_least_one(min_ratio: float) -> None:
    assert refused(lambda: Target(min_ratio=min_ratio)).where == "target.min_ratio"


def test_the_limits_themselves_are_allowed() -> None:
    assert Target(max_drop=0.0).max_drop == 0
    assert Target(min_ratio=1.0).min_ratio == 1
    lowest = Recipe(distill=0.0, l2=0.0, preference=-1.0, path_epochs=1, batch_size=1, seed=0)
    assert lowest.preference == -1
    assert Recipe(distill=1.0, preference=1.0).distill == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("penalty", "ridge"),
        ("penalty", "none"),
        ("tie_by", "norm"),
        ("device", "cuda:1"),
        ("bits", 5),
        ("bits", 0),
        ("task", "clustering"),
        ("path_epochs", 0),
        ("retrain_epochs", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", NAN),
        ("temperature", INFINITY),
        ("temperature", -4.0),
        ("scale", 0.0),
        ("scale", INFINITY),
        ("distill", 1.0001),
        ("distill", -0.1),
        ("distill", NAN),
        ("l2", -1e-9),
        ("l2", INFINITY),
        ("l2", NAN),
        ("preference", 1.1),
        ("preference", NAN),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    assert refused(lambda: Recipe(**{field: value})).where == field


def test_what_is_allowed_is_said_where_there_are_few_choices() -> None:
    error = refused(lambda: Recipe.from_dict({"penalty": "ridge"}))
    assert error.message == "must be one of growl, oscar, slope, group_lasso, l1, weight_decay"


@pytest.mark.parametrize("name", ["ridge", "", None, ["l1"], 3])
def test_a_layers_penalty_that_is_not_known_is_named_by_its_layer(name: Any) -> None:
    error = refused(lambda: Recipe.from_dict({"penalties": {"fc1": "l1", "/conv.2": name}}))
    assert error.where == "penalties./conv.2"
    assert error.message.endswith("weight_decay, none")


def test_layers_are_given_penalties_by_name_or_left_alone() -> None:
    recipe = Recipe.from_dict({"penalties": {"fc1": "slope", "fc2": "none"}})
    assert recipe.penalties == {"fc1": "slope", "fc2": "none"}
    assert recipe.to_dict()["penalties"] == {"fc1": "slope", "fc2": "none"}
    assert Recipe().penalties == {}


def test_every_penalty_that_may_be_named_exists() -> None:
    assert set(PENALTIES) == set(get_args(PenaltyName))


def test_plain_data_and_back_is_the_same_recipe() -> None:
    recipe = Recipe(Target(min_ratio=20.0), penalty="oscar", l2=1e-4, tie=False, path_epochs=9)
    plain = recipe.to_dict()
    set_in_target = {name: value for name, value in plain["target"].items() if value is not None}
    assert set_in_target == {"min_ratio": 20.0}
    assert plain["temperature"] == 4.0
    assert Recipe.from_dict(plain) == recipe


def test_plain_data_is_not_changed_by_reading_it() -> None:
    plain = {"target": {"min_ratio": 3.0}, "seed": 4}
    assert Recipe.from_dict(plain).target == Target(min_ratio=3.0)
    assert plain == {"target": {"min_ratio": 3.0}, "seed": 4}


def test_images_may_be_changed_while_training() -> None:
    recipe = Recipe.from_dict({"augment": {"shift": 4, "flip": True}})
    assert recipe.augment == Augment(shift=4, flip=True)
    assert recipe.to_dict()["augment"] == {"shift": 4, "flip": True}
    assert not Recipe().augment.any
    assert [Augment(shift=1).any, Augment(flip=True).any] == [True, True]


@pytest.mark.parametrize(
    ("augment", "where"),
    [
        (3, "augment"),
        ({"shift": -1}, "augment.shift"),
        ({"shift": 1.5}, "augment.shift"),
        ({"flip": 1}, "augment.flip"),
        ({"rotate": 5}, "augment.rotate"),
    ],
)
def test_a_change_of_images_that_does_not_exist_is_named(augment: Any, where: str) -> None:
    assert refused(lambda: Recipe.from_dict({"augment": augment})).where == where


def test_an_unknown_field_is_named() -> None:
    error = refused(lambda: Recipe.from_dict({"epochs": 3}))
    assert error.where == "epochs"
    assert "path_epochs" in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path_epochs", "5"),
        ("path_epochs", 2.5),
        ("batch_size", True),
        ("tie", 1),
        ("tie", None),
        ("penalties", ["l1"]),
        ("penalties", "l1"),
        ("bits", "8"),
        ("bits", 8.0),
        ("bits", True),
        ("device", None),
        ("tie_by", 1),
        ("seed", 1.0),
        ("l2", "little"),
        ("distill", None),
        ("penalty", 3),
        ("target", {"max_drop": 0.1}),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_field(
    field: str, value: Any
) -> None:
    error = refused(lambda: Recipe(**{field: value}))
    assert error.where == field
    assert repr(value) in error.message


def test_a_whole_number_will_do_for_a_float() -> None:
    assert Recipe(Target(min_ratio=20), l2=0, temperature=4, learning_rate=1) == Recipe(
        Target(min_ratio=20.0), l2=0.0, temperature=4.0, learning_rate=1.0
    )


@pytest.mark.parametrize(
    ("target", "where"),
    [
        ({"drop": 0.1}, "target.drop"),
        (0.1, "target"),
        (None, "target"),
        ({"max_drop": "little"}, "target.max_drop"),
        ({"min_ratio": True}, "target.min_ratio"),
    ],
)
def test_a_target_of_another_form_is_refused(target: Any, where: str) -> None:
    assert refused(lambda: Recipe.from_dict({"target": target})).where == where
