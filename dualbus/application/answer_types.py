"""Types of answers for pydantic, which reads no TypedDict of `typing` before Python 3.12: each is copied."""

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
            return bound.get(annotation, Any)
        if typing_extensions.is_typeddict(origin or annotation):
            return self._copy(origin or annotation, args, bound)
        if origin is None or origin is Literal:
            return annotation
        if origin is Annotated:
            return Annotated[self.readable(args[0], bound), *args[1:]]
        parts = [self.readable(part, bound) for part in args]
        if origin in (Union, UnionType):
            return reduce(or_, parts)
        return origin[tuple(parts)]

    def _copy(self, kind: Any, args: Sequence[Any], bound: Mapping[Any, Any]) -> Any:
        arguments = tuple(self.readable(arg, bound) for arg in args)
        key = kind, str(arguments)
        if key not in self._copies:
            self._copies[key] = dict[str, Any]  # for a type inside itself
            inner = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
            fields = {}
            for name, hint in typing_extensions.get_type_hints(kind, include_extras=True).items():
                field, required = _field(hint, name in kind.__required_keys__)
                field = self.readable(field, inner)
                fields[name] = field if required else typing_extensions.NotRequired[field]
            copy: Any = typing_extensions.TypedDict
            self._copies[key] = copy(kind.__name__, fields)
        return self._copies[key]


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
