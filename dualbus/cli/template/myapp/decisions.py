"""Decide commands: return events, or raise Rejected."""

from collections.abc import Iterator

from dualbus import Past, Rejected

from myapp.messages import NAME, AddItem, ItemAdded


def add_item(command: AddItem, past: Past) -> Iterator[ItemAdded]:
    if past.events(NAME(command.name)):
        raise Rejected(f"There is already an item {command.name}")
    yield ItemAdded(id=past.new_id(), name=command.name)
