"""What an exception of the application shows: in an answer its class and the broken rules, in a log no record."""

import logging
import sys
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from dualbus.application.causes import Unreadable, cause, own_text, own_traceback
from dualbus.runtime.logging import TextFormatter

SECRET = "ada@example.com"


class Person(BaseModel):
    email: int
    notes: dict[str, int] = {}


def caught(function: Any, *arguments: Any) -> Exception:
    try:
        function(*arguments)
    except Exception as error:
        return error
    raise AssertionError("It raised nothing.")


def chained() -> None:
    try:
        Person.model_validate({"email": SECRET})
    except ValidationError as error:
        raise RuntimeError("the author's sentence") from error


def in_a_group() -> None:
    raise ExceptionGroup("several", [caught(chained), caught(Person.model_validate, {"email": SECRET})])


def after_another() -> None:
    try:
        TypeAdapter(dict[str, int]).validate_python({SECRET: SECRET})
    except ValidationError:
        raise KeyError("a case that was forgotten")  # noqa: B904 - what it was raised from is the point


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError(SECRET), "ValueError"),
        (caught(Person.model_validate, {"email": SECRET}), "ValidationError (email: int_parsing)"),
        (caught(Person.model_validate, {SECRET: 1, "email": {}}), "ValidationError (email: int_type)"),
        (
            caught(Person.model_validate, {"email": 1, "notes": {SECRET: SECRET}}),
            "ValidationError (notes: int_parsing)",
        ),
        (caught(TypeAdapter(dict[str, int]).validate_python, {SECRET: SECRET}), "ValidationError (int_parsing)"),
        (caught(Person.model_validate_json, SECRET), "ValidationError (json_invalid)"),
        (Unreadable("Added", "KeyError"), "KeyError"),
    ],
)
def test_an_answer_shows_the_class_and_the_rules(error: Exception, shown: str) -> None:
    assert cause(error, Person.model_fields) == shown


@pytest.mark.parametrize("raising", [chained, in_a_group, after_another])
def test_a_log_shows_the_author_s_words_and_no_input_of_a_validation(raising: Any) -> None:
    error = caught(raising)

    shown = own_traceback(error)

    assert SECRET not in shown
    assert "ValidationError: " in shown and raising.__name__ in shown
    assert "the author's sentence" in shown or raising is after_another
    assert len(shown.splitlines()) >= len(str(error).splitlines()) + 2


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), caught(Person.model_validate, {"email": SECRET})
    one.__cause__, other.__cause__ = other, one

    assert SECRET not in own_traceback(one)


def test_the_formatter_of_the_processes_writes_it() -> None:
    try:
        chained()
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "It failed.", (), sys.exc_info())

    text = TextFormatter("projector: %(message)s").format(record)

    assert text.startswith("projector: It failed.\n  Traceback")
    assert text.endswith("RuntimeError: the author's sentence")
    assert SECRET not in text


def test_a_validation_is_one_line_for_the_operator() -> None:
    assert own_text(caught(Person.model_validate, {"email": SECRET})) == "Person (int_parsing)"
    assert own_text(ValueError("the author's")) == "the author's"
