"""The page on reactions: its code runs."""

import re
from typing import Any

from dualbus import App
from tests.conftest import ROOT
from tests.reactions import shop

PAGE = (ROOT / "docs" / "reactions.md").read_text()


def test_the_application_of_the_page_is_valid_and_its_test_passes() -> None:
    declared, _, tested, in_process = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {**vars(shop), "__name__": "docs.reactions"}
    exec(compile(declared, "docs/reactions.md", "exec"), names)

    names["app"] = App(commands=shop.COMMANDS, projections=[shop.FACTS], reactions=names["reactions"])
    names["PLACED"] = shop.OrderPlaced(order="a", amount=1, seconds=1)
    names["REQUESTED"] = shop.PaymentRequested(order="a", amount=1)
    names["PAID"] = shop.PaymentReceived(order="a")
    exec(compile(tested, "docs/reactions.md", "exec"), names)
    names["app"] = App(commands=shop.COMMANDS, projections=[shop.FACTS], queries=[shop.list_facts],
                       reactions=names["reactions"][:1])  # fmt: skip
    exec(compile(in_process, "docs/reactions.md", "exec"), names)


def test_the_defaults_of_the_page_are_those_of_the_code() -> None:
    defaults = dict(re.findall(r"`(timeout|concurrency|pause|tries)`(?: seconds)? \((\d+)\)", PAGE))

    fields: Any = shop.ORDERS
    assert {name: getattr(fields, name) for name in defaults} == {
        name: float(text) for name, text in defaults.items()
    }
    assert defaults.keys() == {"timeout", "concurrency", "pause", "tries"}
