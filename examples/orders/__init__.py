"""Orders with stock, payment and mail: process managers, a timer, and effects on other systems."""

from dualbus import App, Projection, Reaction
from examples.orders import decisions, effects, projections, queries, reactions
from examples.orders.messages import StockAdded

app = App(
    commands=[
        decisions.add_stock,
        decisions.place_order,
        decisions.reserve_stock,
        decisions.release_stock,
        decisions.request_payment,
        decisions.confirm_payment,
        decisions.cancel_order,
        decisions.ship_order,
    ],
    projections=[
        Projection(
            "orders", version=1, tables=projections.TABLES, on=[projections.add_order, projections.change_state]
        )
    ],
    queries=[queries.get_order],
    reactions=[
        Reaction(
            "orders",
            on=[reactions.reserve, reactions.ask_for_payment, reactions.ship, reactions.release],
            since="beginning",
            on_refused=[reactions.out_of_stock],
        ),
        Reaction("payments", on=[effects.charge], since="beginning", lifespan=effects.payment_service, pause=0.2),
        Reaction("mail", on=[effects.mail_shipment], since="now"),
    ],
    genesis=[StockAdded(item="lamp", count=100)],
)
