"""Types of answers for pydantic: each TypedDict is copied.

Pydantic reads no TypedDict of `typing` before Python 3.12, and loses the types of `class Users(Page[User])`.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typing_extensions
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

_QUALIFIERS = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)


class AnswerTypes:
    """The types of answers, in a form that pydantic reads."""

    def __init__(self) -> None:
        self._copies: dict[Any, Any] = {}

    def adapter(self, annotation: Any) -> TypeAdapter[Any]:
        """Return the adapter of a type; of any value for a type without a schema."""
        try:
            return TypeAdapter(self.readable(annotation))
        except (PydanticUserError, TypeError, NameError):
            return TypeAdapter(Any)

    def readable(self, annotation: Any, bound: Mapping[Any, Any] = MappingProxyType({})) -> Any:
        """Return a type with copied TypedDicts, and with the types of its type variables."""
        origin, args = get_origin(annotation), get_args(annotation)
        if isinstance(annotation, TypeVar):
            return bound[annotation] if annotation in bound else self.readable(_default(annotation))
        if typing_extensions.is_typeddict(origin or annotation):
            return self._copy(origin or annotation, args, bound)
        if not args or origin is Literal:
            return annotation
        if origin is Annotated:
            return Annotated[self.readable(args[0], bound), *args[1:]]
        parts = [self.readable(part, bound) for part in args]
        if origin in (Union, UnionType):
            return reduce(or_, parts)
        return origin[tuple(parts)]

    def _copy(self, kind: Any, args: Sequence[Any], bound: Mapping[Any, Any]) -> Any:
        inner = self._inner(kind, args, bound)
        key = kind, str(inner)
        if key not in self._copies:
            typed_dict: Any = typing_extensions.TypedDict
            self._copies[key] = copy = typed_dict(kind.__name__, {})  # a field may be of the type itself
            copy.__annotations__ = self._fields(kind, inner)
            copy.__required_keys__ = frozenset(copy.__annotations__)  # the fields have their own NotRequired
            if hasattr(kind, "__pydantic_config__"):
                copy.__pydantic_config__ = kind.__pydantic_config__
        return self._copies[key]

    def _inner(self, kind: Any, args: Sequence[Any], bound: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the types of a class's own type variables."""
        variables = getattr(kind, "__parameters__", ())
        return dict(zip(variables, (self.readable(part, bound) for part in args), strict=False))

    def _fields(self, kind: Any, bound: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the fields of a TypedDict: those of each base have the type variables of the base."""
        fields: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for base in typing_extensions.get_original_bases(kind):
            origin = get_origin(base) or base
            if typing_extensions.is_typeddict(origin):
                inherited |= _hints(origin)
                fields |= self._fields(origin, self._inner(origin, get_args(base), bound))
        for name, hint in _hints(kind).items():
            if name not in inherited or hint != inherited[name]:
                field, required = _field(hint, name in kind.__required_keys__)
                field = self.readable(field, bound)
                fields[name] = field if required else typing_extensions.NotRequired[field]
        return fields


def _default(variable: TypeVar) -> Any:
    """Return the default of a type variable (PEP 696), or any type."""
    default = getattr(variable, "__default__", typing_extensions.NoDefault)
    return Any if default is typing_extensions.NoDefault else default


def _hints(kind: Any) -> dict[str, Any]:
    return typing_extensions.get_type_hints(kind, include_extras=True)


def _field(hint: Any, required: bool) -> tuple[Any, bool]:
    """Return the type of a TypedDict's field, and whether the field is required.

    With postponed annotations, the class does not know its own Required and NotRequired.
    """
    marks: tuple[Any, ...] = ()
    while (origin := get_origin(hint)) in _QUALIFIERS or origin is Annotated:
        if origin is Annotated:
            marks = (*hint.__metadata__, *marks)
        elif origin is not typing_extensions.ReadOnly:
            required = origin is typing_extensions.Required
        hint = get_args(hint)[0]
    return (Annotated[hint, *marks] if marks else hint), required
