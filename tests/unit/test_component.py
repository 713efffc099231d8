"""Pieces of a plan: frozen, strict, spelled with hyphens, and explained when they do not fit."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from lego_core.component import Component, explain, hyphenated
from lego_core.errors import DataError, PlanError


class Red(Component):
    kind: Literal["red"] = "red"
    deep_shade: float = 0.5


class Blue(Component):
    kind: Literal["blue"] = "blue"


class Paint(Component):
    colour: Annotated[Red | Blue, Field(discriminator="kind")] = Red()
    num_coats: int = Field(default=1, ge=1)
    tins: tuple[int, ...] = ()
    maker_name: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Paint":
        if self.tins and len(self.tins) < self.num_coats:
            raise ValueError("there are fewer tins than coats")
        return self


def explained(plain: dict[str, object]) -> str:
    with pytest.raises(ValidationError) as refused:
        Paint.model_validate(plain)
    return explain(refused.value, where="Plan 'house'", kind=PlanError).public


def test_fields_are_spelled_with_hyphens_outside_and_underscores_inside():
    paint = Paint.model_validate({"num-coats": 2, "colour": {"kind": "red", "deep-shade": 0.25}})

    assert (paint.num_coats, paint.colour) == (2, Red(deep_shade=0.25))
    assert Paint(num_coats=2).to_plain()["num-coats"] == 2


@given(st.from_regex(r"[a-z]+(_[a-z]+)*", fullmatch=True))
def test_hyphens_and_underscores_go_both_ways(name):
    assert hyphenated(name).replace("-", "_") == name
    assert "_" not in hyphenated(name)


def test_absent_values_are_left_out_of_plain():
    assert Paint().to_plain() == {
        "colour": {"kind": "red", "deep-shade": 0.5},
        "num-coats": 1,
        "tins": [],
    }


def test_plain_is_read_back():
    paint = Paint(colour=Blue(), num_coats=2, tins=(1, 2), maker_name="x")

    assert Paint.model_validate(paint.to_plain()) == paint


def test_value_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Paint().num_coats = 3  # type: ignore[misc]


def test_equal_pieces_are_equal_and_hash_alike():
    assert len({Red(), Red(deep_shade=0.5), Red(deep_shade=0.6)}) == 2


def test_unknown_key_is_explained_by_its_path():
    assert explained({"colour": {"kind": "red", "shadow": 1}}) == (
        "Plan 'house': key 'colour.red.shadow': there is no such key; check its spelling."
    )


def test_unknown_kind_is_explained_with_the_kinds_there_are():
    text = explained({"colour": {"kind": "rde"}})

    assert "key 'colour'" in text
    assert "'red', 'blue'" in text


def test_every_finding_is_explained():
    text = explained({"num-coats": 0, "tins": ["x"], "lid": 1})

    assert "key 'num-coats'" in text
    assert "key 'tins.0'" in text
    assert "key 'lid'" in text


def test_sentence_of_a_validator_stands_as_it_was_written():
    assert explained({"num-coats": 2, "tins": [1]}) == ("Plan 'house': there are fewer tins than coats.")


def test_explanation_is_of_the_kind_asked_for():
    with pytest.raises(ValidationError) as refused:
        Paint.model_validate({"num-coats": 0})

    assert isinstance(explain(refused.value, where="x", kind=DataError), DataError)
