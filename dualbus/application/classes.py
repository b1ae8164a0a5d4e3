"""Validation of message classes: fields that cannot be stored or hidden are refused when the application starts."""

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import BaseModel, FutureDate, FutureDatetime, Secret, SecretBytes, SecretStr
from pydantic.types import PathType
from typing_extensions import is_typeddict

from dualbus.application.aliases import sent_paths
from dualbus.application.messages import Command, Event, Message, Query, is_private, private_fields, tag_fields
from dualbus.application.schemas import OF_MEMBER, Node, fields_without_init, is_plain_member, nodes
from dualbus.application.tags import Tag, is_taggable

RESERVED = {"problems"}  # used by the base classes
TIMEOUT = "timeout_ms"  # of a query over HTTP, among the parameters of its fields


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
    for name in kind.model_fields if issubclass(kind, Query) else ():
        if (TIMEOUT,) in sent_paths(kind, name):
            yield f"{kind.__name__}.{name}: {TIMEOUT} is the deadline of a query over HTTP: rename the field."
    for record, fields in _records(kind, {}).items():
        for name, field in fields.items():
            if any(map(is_plain_member, _literals(field.annotation))):
                yield f"{record.__name__}.{name} {OF_MEMBER}"
    if issubclass(kind, Event):
        yield from _event_mistakes(kind)
    else:
        yield from _inner_private_fields(kind)


def private_tags(kind: type[Event]) -> set[str]:
    """Return the names of the tags on private fields."""
    return {tag for field_name, tag in tag_fields(kind) if field_name in private_fields(kind)}


def _event_mistakes(kind: type[Event]) -> Iterator[str]:
    if private_fields(kind) and kind.__pydantic_decorators__.model_serializers:
        yield (
            f"{kind.__name__} has Private fields, which replies omit by name, and a model_serializer, which may "
            "write them under other names: use field_serializer."
        )
    for name, field in kind.model_fields.items():
        if any(map(_is_mark, _arguments(field.annotation))):
            yield (
                f"{kind.__name__}.{name}: put Tag and Private on the whole type, "
                "such as Annotated[str | None, Private]; on a part of a type they have no effect."
            )
        if any(isinstance(mark, Tag) for mark in field.metadata) and not is_taggable(field.annotation):
            yield (
                f"{kind.__name__}.{name}: a tag's value is a str, an int, a UUID, a date, an enum of text, or a list "
                "of these."
            )
    for record, fields in _records(kind, {}).items():
        for name, inner in fields.items():
            yield from _field_mistakes(kind, record, name, inner)
        for name, computed in _computed(record).items():
            if any(map(_is_mark, _arguments(computed))):
                place = f"{record.__name__}.{name}"
                yield f"{place}: Tag and Private have no effect on a computed field: make it a field."
    for node in nodes(kind.__pydantic_core_schema__):
        yield from _dataclass_mistakes(kind, node)


def _inner_private_fields(kind: type[Message]) -> Iterator[str]:
    """Yield a sentence for each private field inside a command or a query: only its own fields are hidden."""
    for record, fields in _records(kind, {}).items():
        for name, field in fields.items():
            whole = () if record is kind else field.metadata
            if any(map(is_private, (*whole, *_arguments(field.annotation)))):
                yield (
                    f"{record.__name__}.{name}: Private has no effect inside {kind.__name__}: mark the whole field "
                    f"of {kind.__name__}."
                )


def _field_mistakes(kind: type[Event], record: type[Any], name: str, field: "_Field") -> Iterator[str]:
    """Yield a sentence for each mistake in a field of an event, or of a record inside the event."""
    place = f"{record.__name__}.{name}"
    if field.excluded:
        yield f"{place} is excluded from JSON, so {kind.__name__} would lose it in the log: remove exclude."
    if any(issubclass(part, SecretStr | SecretBytes | Secret) for part in _parts(field.annotation)):
        yield f"{place} is a secret of pydantic, stored as ***: use Annotated[str, Private]."
    parts = (*field.metadata, *_arguments(field.annotation))
    if record is not kind and any(map(_is_mark, parts)):
        yield f"{place}: Tag and Private have no effect inside {kind.__name__}: mark the field of the event."
    if any(issubclass(part, FutureDate | FutureDatetime) for part in _parts(field.annotation)):
        yield (
            f"{place} is not in the future when {kind.__name__} is read later: use date or datetime, and check the "
            "value in the command."
        )
    if any(isinstance(part, PathType) for part in parts):
        yield (
            f"{place} depends on the files of the machine that reads {kind.__name__}: use Path or str, and check the "
            "file in the command."
        )


def _dataclass_mistakes(kind: type[Event], node: Node) -> Iterator[str]:
    """Yield a sentence for each field that pydantic writes and refuses when it reads: a field without init."""
    if node.get("config", {}).get("extra_fields_behavior") == "forbid":
        for name in fields_without_init(node):
            place = f"{node['cls'].__name__}.{name}"
            yield f"{place} has init=False, so {kind.__name__} could not be read from the log: make it a property."


def _is_complete(kind: type[BaseModel]) -> bool:
    return bool(kind.__pydantic_complete__ or kind.model_rebuild(raise_errors=False))


def _is_mark(part: object) -> bool:
    return isinstance(part, Tag) or is_private(part)


def _literals(annotation: Any) -> Iterator[Any]:
    """Yield the values of the Literals in an annotation, at any depth."""
    for part in (annotation, *_arguments(annotation)):
        if get_origin(part) is Literal:
            yield from get_args(part)


def _arguments(annotation: Any, aliases: frozenset[int] = frozenset()) -> Iterator[Any]:
    """Yield the parts of a type, also of the types that aliases name, with the metadata of each."""
    named = [] if id(annotation) in aliases else list(_named(annotation))  # an alias may name itself
    if named:
        aliases |= {id(annotation)}
    for part in (*get_args(annotation), *named):
        yield part
        yield from _arguments(part, aliases)


def _named(annotation: Any) -> Iterator[Any]:
    """Yield the type that an alias, such as `type Name = …` or a NewType, names."""
    for alias in (annotation, get_origin(annotation)):
        for attribute in ("__value__", "__supertype__"):
            if hasattr(alias, attribute):
                yield getattr(alias, attribute)


def _parts(annotation: Any) -> Iterator[type[Any]]:
    """Yield the classes in an annotation, at any depth."""
    for part in (annotation, *_arguments(annotation)):
        for kind in (part, get_origin(part)):
            if isinstance(kind, type):
                yield kind


def _computed(kind: type[Any]) -> dict[str, Any]:
    """Return the types of the computed fields of a class."""
    decorators = getattr(kind, "__pydantic_decorators__", None)
    found = decorators.computed_fields.items() if decorators else ()
    return {name: decorator.info.return_type for name, decorator in found}


class _Field(NamedTuple):
    annotation: Any
    metadata: Sequence[Any]
    excluded: bool


def _records(kind: type[Any], found: dict[type[Any], dict[str, _Field]]) -> dict[type[Any], dict[str, _Field]]:
    """Return the fields of a class, and those of the models, dataclasses, TypedDicts and tuples in its fields."""
    if kind not in found and ((fields := _fields(kind)) or _computed(kind)):
        found[kind] = fields
        for field in fields.values():
            for part in _parts(field.annotation):
                _records(part, found)
    return found


def _fields(kind: type[Any]) -> dict[str, _Field]:
    infos = getattr(kind, "__pydantic_fields__", None)  # of a model, or a dataclass of pydantic
    if infos is not None:
        return {name: _Field(info.annotation, info.metadata, bool(info.exclude)) for name, info in infos.items()}
    if is_dataclass(kind) or is_typeddict(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return {name: _Field(hint, (), False) for name, hint in get_type_hints(kind, include_extras=True).items()}
    return {}
