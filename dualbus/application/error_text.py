"""Pydantic's errors as problems: a sentence such as `Age must be at least 18`, the path of the field, and a code."""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, get_args

from pydantic import ValidationError
from pydantic_core import core_schema

from dualbus.application.errors import INVALID, Problem
from dualbus.application.field_path import field_path

EMAIL_PATTERN = r"^[^@\s]+@[^@\s]+\.[^@\s.]+$"

_ONE = re.compile(r"\b1 (item|character|digit|decimal place)s\b")
_PHRASES = {
    "missing": "is required",
    "string_type": "must be text",
    "string_pattern_mismatch": "has the wrong form",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the decimal point",
    "multiple_of": "must be a multiple of {multiple_of}",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "finite_number": "must be a finite number",
}

_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "unexpected_keyword_argument": "unknown_field",  # of a dataclass
    "int_from_float": "wrong_type",
    "int_parsing": "wrong_type",
    "float_parsing": "wrong_type",
    "bool_parsing": "wrong_type",
    "string_pattern_mismatch": "wrong_format",
    "greater_than_equal": "too_small",
    "greater_than": "too_small",
    "less_than_equal": "too_large",
    "less_than": "too_large",
    "enum": "not_allowed",
    "literal_error": "not_allowed",
    "union_tag_invalid": "not_allowed",
}
_CODES_BY_END = {"_type": "wrong_type", "_parsing": "wrong_format", "too_short": "too_short", "too_long": "too_long"}
_OF_AUTHOR = {"value_error", "assertion_error"}
_PYDANTICS = frozenset(get_args(core_schema.ErrorType))

Steps: TypeAlias = tuple[int | str, ...]


def problems(type_name: str, error: ValidationError, sent: Any = None) -> list[Problem]:
    """Return the problems of a message in the order of the fields, each sentence once.

    `sent`, the fields of the message, separates keys from the names that pydantic adds for members of a union.
    """
    found: dict[str, Problem] = {}
    for problem in error.errors(include_url=False):
        steps = problem["loc"] if sent is None else _steps(problem, sent)
        text = _sentence(type_name, label(steps), problem)
        found.setdefault(text, Problem(text, field_path(steps) or None, _code(problem)))
    return list(found.values())


def sentences(type_name: str, error: ValidationError) -> list[str]:
    """Return the sentences of the problems."""
    return [problem.text for problem in problems(type_name, error)]


def label(steps: Steps) -> str:
    """Return the label of a field: ("user_id",) is "User id", ("tags", 0) is "Tags item 1"."""
    words = [f"item {step + 1}" if isinstance(step, int) else step.replace("_", " ") for step in steps]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _steps(problem: Mapping[str, Any], sent: Any) -> Steps:
    """Return the location of a problem, without the names of union members: neither keys nor indexes of a value."""
    location: Steps = problem["loc"]
    steps = location[:1]
    value: Any = sent.get(location[0]) if location else None
    for step in location[1:]:
        if type(value) not in (dict, list):
            continue
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            if problem["type"] != "missing" or step != location[-1]:
                continue
        steps += (step,)
    return steps


def _is_blank(problem: Mapping[str, Any]) -> bool:
    """Return whether a value is missing, null or blank; a sentence of the author tells more."""
    kind, value = problem["type"], problem.get("input")
    if _is_of_author(kind):
        return False
    blank = isinstance(value, str) and not value.strip() and kind == "string_too_short"
    return kind == "missing" or value is None or blank


def _is_of_author(kind: str) -> bool:
    """Return whether a validator of the application has raised the error, with a text of its own."""
    return kind in _OF_AUTHOR or kind not in _PYDANTICS


def _code(problem: Mapping[str, Any]) -> str:
    kind: str = problem["type"]
    if _is_blank(problem):
        return "required"
    if kind not in _PYDANTICS:
        return kind  # the author's: PydanticCustomError("iban", "must be an IBAN")
    by_end = next((code for end, code in _CODES_BY_END.items() if kind.endswith(end)), INVALID)
    return _CODES.get(kind, by_end)


def _sentence(type_name: str, name: str, problem: Mapping[str, Any]) -> str:
    name = name or type_name
    kind, context = problem["type"], problem.get("ctx", {})
    if _is_blank(problem):
        return f"{name} is required"
    if _CODES.get(kind) == "unknown_field":
        return f"{name} is not a field of {type_name}"
    if _is_of_author(kind):
        # A validator of the application: a whole sentence, or a phrase to follow the field's name.
        text = str(context["error"] if kind in _OF_AUTHOR else problem["msg"]) or "is not valid"
        return text if text[:1].isupper() else f"{name} {text}"
    if context.get("pattern") == EMAIL_PATTERN:
        return f"{name} must be an email address"
    if kind in ("too_short", "too_long") and isinstance(problem.get("input"), str):
        kind = f"string_{kind}"  # behind a validator of the application, pydantic counts items
    phrase = _PHRASES.get(kind)
    if phrase is None:
        message = str(problem["msg"])
        is_word = not message[1:2].isupper()  # and not JSON, URL, UUID
        return f"{name} is not valid: {message[:1].lower() if is_word else message[:1]}{message[1:]}"
    return _ONE.sub(r"1 \1", f"{name} {phrase.format(**context)}")


def one_line(error: object) -> str:
    """Return an error of SQLite or of a codec as part of a sentence."""
    if isinstance(error, UnicodeDecodeError):
        return "it contains invalid UTF-8"
    return " ".join(str(error).replace("*** in database main ***", "").split())
