"""Readable differences between messages, or between lists of messages."""

from collections.abc import Iterator, Sequence

from dualbus.application.messages import Message


def full_repr(message: Message) -> str:
    """Return the full `repr` of a message, with private fields, because the values are from a test."""
    fields = ", ".join(f"{name}={getattr(message, name)!r}" for name in type(message).model_fields)
    return f"{type(message).__name__}({fields})"


def differences(left: object, right: object) -> list[str] | None:
    """Return a description of the differences in lines; None for values other than messages or lists of messages."""
    ours, theirs = _messages(left), _messages(right)
    if ours is None or theirs is None or not (ours or theirs):
        return None
    return ["the messages differ (left != right)", *_lines(ours, theirs)]


def _messages(value: object) -> Sequence[Message] | None:
    if isinstance(value, Message):
        return [value]
    if isinstance(value, list) and all(isinstance(item, Message) for item in value):
        return value
    return None


def _lines(left: Sequence[Message], right: Sequence[Message]) -> Iterator[str]:
    for number in range(max(len(left), len(right))):
        if number >= len(left):
            yield f"{number + 1}. only on the right: {full_repr(right[number])}"
        elif number >= len(right):
            yield f"{number + 1}. only on the left: {full_repr(left[number])}"
        else:
            yield from _compare(f"{number + 1}. ", left[number], right[number])


def _compare(number: str, left: Message, right: Message) -> Iterator[str]:
    if type(left) is not type(right):
        yield f"{number}{type(left).__name__} != {type(right).__name__}"
        yield f"   left:  {full_repr(left)}"
        yield f"   right: {full_repr(right)}"
    elif left == right:
        yield f"{number}{type(left).__name__}: the same"
    else:
        yield f"{number}{type(left).__name__}:"
        for name in type(left).model_fields:
            ours, theirs = getattr(left, name), getattr(right, name)
            if ours != theirs:
                yield f"   {name}: {ours!r} != {theirs!r}"
