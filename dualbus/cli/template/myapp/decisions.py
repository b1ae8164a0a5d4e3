"""Decide commands: return events, or raise Rejected."""

from collections.abc import Iterator

from dualbus import Event, Past, Rejected

from myapp.messages import AddItem, ItemAdded


def add_item(command: AddItem, past: Past) -> Iterator[Event]:
    if past.events(name=command.name):
        raise Rejected(f"There is already an item {command.name}")
    yield ItemAdded(id=past.new_id(), name=command.name)
