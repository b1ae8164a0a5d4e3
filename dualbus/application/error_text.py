"""Pydantic's errors as sentences for users: `Name is required`, `Age must be at least 18`."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

EMAIL_PATTERN = r"^[^@\s]+@[^@\s]+\.[^@\s.]+$"

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
    """Return a sentence for each problem in the order of the fields, without duplicates."""
    found = (_sentence(type_name, problem) for problem in error.errors(include_url=False))
    return list(dict.fromkeys(found))


def label(location: tuple[int | str, ...]) -> str:
    """Return the label of a field: ("user_id",) is "User id", ("tags", 0) is "Tags item 1"."""
    words = [f"item {part + 1}" if isinstance(part, int) else part.replace("_", " ") for part in location]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _sentence(type_name: str, problem: Mapping[str, Any]) -> str:
    name = label(problem["loc"]) or type_name
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    blank = isinstance(value, str) and not value.strip() and kind == "string_too_short"
    if kind == "missing" or value is None or blank:
        return f"{name} is required"
    if kind == "extra_forbidden":
        return f"{name} is not a field of {type_name}"
    if kind == "value_error":
        # A validator of the application: a whole sentence, or a phrase to follow the field's name.
        text = str(context["error"])
        return text if text[:1].isupper() else f"{name} {text}"
    if context.get("pattern") == EMAIL_PATTERN:
        return f"{name} must be an email address"
    phrase = _PHRASES.get(kind)
    if phrase is None:
        message = str(problem["msg"])
        return f"{name} is not valid: {message[:1].lower()}{message[1:]}"
    return f"{name} {phrase.format(**context)}"


def one_line(error: object) -> str:
    """Return an error of SQLite or of a codec as part of a sentence."""
    if isinstance(error, UnicodeDecodeError):
        return "it contains invalid UTF-8"
    return " ".join(str(error).replace("*** in database main ***", "").split())
