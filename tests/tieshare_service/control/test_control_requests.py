import re
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieshare.recipe import Recipe, Target
from tieshare_service.control.requests import JobRecipe, JobRequest, JobTarget
from tieshare_service.publish import served_name


def test_a_recipe_has_the_librarys_fields_and_defaults() -> None:
    assert set(JobRecipe.model_fields) == {field.name for field in fields(Recipe)}
    ours = JobRecipe.model_validate({}).model_dump(exclude={"target"})
    assert ours == {name: value for name, value in Recipe().to_dict().items() if name != "target"}


def test_a_recipe_takes_all_that_the_library_writes() -> None:
    for target in (Target(max_drop=0.1), Target(min_ratio=20)):
        written = Recipe(target=target).to_dict()
        assert JobRecipe.model_validate(written).model_dump() == written


def test_a_target_has_the_librarys_fields() -> None:
    assert set(JobTarget.model_fields) == {field.name for field in fields(Target)}


@given(st.from_regex(JobRequest.model_fields["name"].metadata[0].pattern, fullmatch=True))
def test_a_name_that_is_taken_is_served_under_that_very_name(name: str) -> None:
    assert served_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "x-", "a/b", "a b", "x" * 101, "a\n"])
def test_a_name_that_could_not_be_served_as_it_is_is_not_taken(name: str) -> None:
    pattern = JobRequest.model_fields["name"].metadata[0].pattern
    assert re.fullmatch(pattern, name) is None
