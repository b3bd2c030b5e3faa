import re
from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieshare.recipe import Recipe, Target
from tieshare.tie_groups import TiedRows, TiedTensors
from tieshare_service.control.recipes import JobRecipe, JobTarget
from tieshare_service.control.requests import JobRequest
from tieshare_service.publish import served_name

TARGETS = [
    Target(max_drop=0.1),
    Target(min_ratio=20),
    Target(max_bytes=9000),
    Target(max_latency_us=12.5),
    Target(front=True),
]


def test_a_recipe_has_the_librarys_fields_and_defaults() -> None:
    assert set(JobRecipe.model_fields) == {field.name for field in fields(Recipe)}
    ours = JobRecipe.model_validate({}).model_dump(exclude={"target"})
    assert ours == {name: value for name, value in Recipe().to_dict().items() if name != "target"}


def test_a_recipe_takes_all_that_the_library_writes() -> None:
    for target in TARGETS:
        written = Recipe(target=target).to_dict()
        assert JobRecipe.model_validate(written).model_dump() == written


def test_what_is_said_of_single_layers_is_taken_as_the_library_writes_it() -> None:
    written = Recipe(
        penalty="slope",
        penalties={"fc 1": "none", "fc 2": "oscar"},
        tie_by="path",
        tie_groups=(TiedRows("fc 1", (0, 5)), TiedTensors(("w1", "w2"))),
        bits=4,
        device="cpu",
    ).to_dict()
    taken = JobRecipe.model_validate(written).model_dump()
    assert taken == written
    assert Recipe.from_dict(taken).to_dict() == written


def test_a_target_has_the_librarys_fields() -> None:
    names = {field.name for field in fields(Target)}
    assert set(JobTarget.model_fields) == names
    asked = [asdict(target) for target in TARGETS]
    assert {name for one in asked for name, value in one.items() if value is not None} == names


@given(st.from_regex(JobRequest.model_fields["name"].metadata[0].pattern, fullmatch=True))
def test_a_name_that_is_taken_is_served_under_that_very_name(name: str) -> None:
    assert served_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "x-", "a/b", "a b", "x" * 101, "a\n"])
def test_a_name_that_could_not_be_served_as_it_is_is_not_taken(name: str) -> None:
    pattern = JobRequest.model_fields["name"].metadata[0].pattern
    assert re.fullmatch(pattern, name) is None
