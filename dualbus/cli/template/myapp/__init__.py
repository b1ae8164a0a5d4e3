"""The application: its messages and their functions."""

from dualbus import App, Projection

from myapp.decisions import add_item
from myapp.projections import ITEMS_TABLE, insert_item
from myapp.queries import get_item, list_items

app = App(
    commands=[add_item],
    projections=[Projection("items", version=1, tables=ITEMS_TABLE, on=[insert_item])],
    queries=[get_item, list_items],
)
