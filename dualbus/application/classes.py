"""Validation of message classes: fields that cannot be stored or hidden are refused when the application starts."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from dualbus.application.messages import Command, Event, Message, Query, is_private, private_fields, tag_fields
from dualbus.application.tags import Tag, is_taggable

RESERVED = {"problems"}  # used by the base classes


def class_mistakes(kind: type[Message]) -> Iterator[str]:
    """Yield a sentence for each mistake in a message class."""
    bases = [base.__name__ for base in (Command, Query, Event) if issubclass(kind, base)]
    if len(bases) > 1:
        yield f"{kind.__name__} is a subclass of {' and '.join(bases)}: choose one of them."
    if not _is_complete(kind):
        yield (
            f"{kind.__name__} has a field of a type that cannot be resolved: import the type at run time, not only "
            "under TYPE_CHECKING."
        )
        return
    for name in sorted(RESERVED & kind.model_fields.keys()):
        yield f"{kind.__name__}.{name}: this name is reserved: rename the field."
    if issubclass(kind, Event):
        yield from _event_mistakes(kind)


def private_tags(kind: type[Event]) -> set[str]:
    """Return the names of the tags on private fields."""
    return {tag for field_name, tag in tag_fields(kind) if field_name in private_fields(kind)}


def _event_mistakes(kind: type[Event]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if _has_mark(field.annotation):
            yield (
                f"{kind.__name__}.{name}: put Tag and Private on the whole type, "
                "such as Annotated[str | None, Private]; on a part of a type they have no effect."
            )
        if any(isinstance(mark, Tag) for mark in field.metadata) and not is_taggable(field.annotation):
            yield (
                f"{kind.__name__}.{name}: a tag's value is a str, an int, a UUID, a date, an enum of text, or a list "
                "of these."
            )
    for model in _models(kind, set()):
        for name, field in model.model_fields.items():
            place = f"{model.__name__}.{name}"
            if field.exclude:
                yield f"{place} is excluded from JSON, so {kind.__name__} would lose it in the log: remove exclude."
            if any(issubclass(part, SecretStr | SecretBytes) for part in _parts(field.annotation)):
                yield f"{place} is a secret of pydantic, stored as ***: use Annotated[str, Private]."
            if model is not kind and any(isinstance(mark, Tag) or is_private(mark) for mark in _marks(field)):
                yield f"{place}: Tag and Private have no effect inside {kind.__name__}: mark the field of the event."


def _is_complete(kind: type[BaseModel]) -> bool:
    return bool(kind.__pydantic_complete__ or kind.model_rebuild(raise_errors=False))


def _has_mark(annotation: Any) -> bool:
    """Return whether a part of a type, and not the whole type, is marked with Tag or Private."""
    parts = get_args(annotation)
    return any(isinstance(part, Tag) or is_private(part) or _has_mark(part) for part in parts)


def _marks(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    yield from _arguments(field.annotation)


def _arguments(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        yield part
        yield from _arguments(part)


def _parts(annotation: Any) -> Iterator[type[Any]]:
    """Yield the classes in an annotation, at any depth."""
    annotation = getattr(annotation, "__value__", annotation)
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _models(kind: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield a model and the models of its fields, at any depth."""
    if kind in seen:
        return
    seen.add(kind)
    yield kind
    for field in kind.model_fields.values():
        for part in _parts(field.annotation):
            if issubclass(part, BaseModel):
                yield from _models(part, seen)
