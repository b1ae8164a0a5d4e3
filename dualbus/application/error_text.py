"""Pydantic's findings, said to a person: `Name is required`, `Age must be at least 18`."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

EMAIL_PATTERN = r"^[^@\s]+@[^@\s]+\.[^@\s.]+$"

_SAYINGS = {
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


def sentences(type_name: str, error: ValidationError) -> list[str]:
    """Return one sentence for each problem, in the order of the fields, none twice."""
    found = (_sentence(type_name, problem) for problem in error.errors(include_url=False))
    return list(dict.fromkeys(found))


def label(location: tuple[int | str, ...]) -> str:
    """Return a field's name as a person says it: ("user_id",) is "User id", ("tags", 0) "Tags item 1"."""
    words = [f"item {part + 1}" if isinstance(part, int) else part.replace("_", " ") for part in location]
    said = " ".join(words)
    return said[:1].upper() + said[1:]


def _sentence(type_name: str, problem: Mapping[str, Any]) -> str:
    name = label(problem["loc"]) or type_name
    kind, given, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    blank = isinstance(given, str) and not given.strip() and kind == "string_too_short"
    if kind == "missing" or given is None or blank:
        return f"{name} is required"
    if kind == "extra_forbidden":
        return f"{name} is not a field of {type_name}"
    if kind == "value_error":
        # An author's rule. It may give a whole sentence, or only what follows the field's name.
        said = str(context["error"])
        return said if said[:1].isupper() else f"{name} {said}"
    if context.get("pattern") == EMAIL_PATTERN:
        return f"{name} must be an email address"
    saying = _SAYINGS.get(kind)
    if saying is None:
        message = str(problem["msg"])
        return f"{name} is not valid: {message[:1].lower()}{message[1:]}"
    return f"{name} {saying.format(**context)}"


def one_line(said: object) -> str:
    """Return what SQLite or a codec says of damage as a part of a sentence."""
    if isinstance(said, UnicodeDecodeError):
        return "there is text in it that is none"
    return " ".join(str(said).replace("*** in database main ***", "").split())
