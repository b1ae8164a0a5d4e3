"""Postponed annotations: a TypedDict does not know which of its fields are required, and a function has texts."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypedDict

import pytest
from pydantic import AfterValidator, BeforeValidator

from dualbus import App, Query, ReadOnlyTables
from dualbus.application.answers import ChangedAnswer
from dualbus.application.errors import HandlerError
from dualbus.application.loader import load
from dualbus.testing import answer

DAY = date(2026, 1, 31)


class Row(TypedDict):
    day: date
    note: NotRequired[Annotated[str, AfterValidator(str.upper)]]
    ids: Annotated[NotRequired[list[str]], BeforeValidator(json.loads)]


class Partial(TypedDict, total=False):
    day: Required[date]
    note: str


class FindRow(Query[Row]):
    pass


class FindPartial(Query[Partial]):
    pass


class Finder:
    """A query function that a class of another module inherits."""

    def __call__(self, query: FindRow, tables: ReadOnlyTables) -> Row:
        return {"day": DAY, "ids": []}


FINDER = """
from dualbus import App
from tests.test_postponed_annotations import Finder

class Special(Finder):
    pass

app = App(queries=[Special()])
"""


def answered(query: Query[Any], value: Any) -> Any:
    def find(query: FindRow | FindPartial, tables: ReadOnlyTables) -> Any:
        return value

    find.__annotations__["query"] = type(query)
    return answer(App(queries=[find]), when=query)


@pytest.mark.parametrize("query", [FindRow(), FindPartial()])
def test_a_field_may_be_missing_if_its_annotation_says_so(query: Query[Any]) -> None:
    assert answered(query, {"day": DAY}) == {"day": DAY}


def test_an_inherited_call_has_the_names_of_its_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "special_finder.py").write_text(FINDER)
    monkeypatch.syspath_prepend(tmp_path)

    assert load("special_finder:app").answers.keys() == {FindRow}


def test_a_required_field_may_not_be_missing() -> None:
    with pytest.raises((HandlerError, ChangedAnswer), match=r"FindPartial is not of its type .*missing"):
        answered(FindPartial(), {"note": "a"})


def test_a_row_is_read_by_the_functions_of_its_fields() -> None:
    row = {"day": "2026-01-31", "note": "a", "ids": '["x"]'}

    assert answered(FindRow(), row) == {"day": DAY, "note": "A", "ids": ["x"]}
