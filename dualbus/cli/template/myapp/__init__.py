"""The application: its messages and their functions."""

from dualbus import App, Projection

from myapp.decisions import add_item
from myapp.messages import AddItem, GetItem, ItemAdded, ListItems
from myapp.projections import ITEMS_TABLE, insert_item
from myapp.queries import get_item, list_items

app = App(
    commands={AddItem: add_item},
    projections=[
        Projection("items", version=1, tables=ITEMS_TABLE, on={ItemAdded: insert_item}),
    ],
    queries={GetItem: get_item, ListItems: list_items},
)
