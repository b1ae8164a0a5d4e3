"""The bank: each rule on values, and then money that stays the same while everybody moves it."""

import random
from itertools import pairwise

import pytest

from dualbus import Command, Event, Rejected
from dualbus.testing import NOW, answer, decide
from examples.bank import app
from examples.bank.messages import (
    AccountOpened,
    Deposit,
    GetAccount,
    GetStatement,
    ListAccounts,
    MoneyDeposited,
    MoneyTransferred,
    MoneyWithdrawn,
    OpenAccount,
    Transfer,
    Withdraw,
)
from tests.raw import RawClient, command, query

ADA = AccountOpened(id="ada", owner="Ada")
BOB = AccountOpened(id="bob", owner="Bob")
AT = "2026-01-31T12:00:00.000000Z"  # NOW in a table
PAID_IN = MoneyDeposited(account="ada", cents=100, at=NOW)
SENT = MoneyTransferred(source="ada", target="bob", cents=70, at=NOW)


def test_an_account_is_opened_and_money_comes_and_goes() -> None:
    given = [ADA, PAID_IN]
    assert decide(app, when=OpenAccount(owner="Ada"), ids=["ada"]) == [ADA]
    assert decide(app, given=[ADA], when=Deposit(account_id="ada", cents=100)) == [PAID_IN]
    taken = [MoneyWithdrawn(account="ada", cents=100, at=NOW)]
    assert decide(app, given=given, when=Withdraw(account_id="ada", cents=100)) == taken


def test_a_transfer_is_one_event() -> None:
    when = Transfer(source_id="ada", target_id="bob", cents=70)
    assert decide(app, given=[ADA, BOB, PAID_IN], when=when) == [SENT]


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        (Withdraw(account_id="ada", cents=31), "Account ada has 30 cents, which is not enough"),
        (
            Transfer(source_id="ada", target_id="bob", cents=31),
            "Account ada has 30 cents, which is not enough",
        ),
        (
            Transfer(source_id="bob", target_id="ada", cents=71),
            "Account bob has 70 cents, which is not enough",
        ),
        (Transfer(source_id="ada", target_id="eve", cents=1), "Account eve does not exist"),
        (Transfer(source_id="ada", target_id="ada", cents=1), "Source and target are the same account"),
        (Deposit(account_id="eve", cents=1), "Account eve does not exist"),
    ],
)
def test_what_would_overdraw_or_get_lost_is_refused(when: Command, sentence: str) -> None:
    with pytest.raises(Rejected) as refused:
        decide(app, given=[ADA, BOB, PAID_IN, SENT], when=when)
    assert refused.value.errors == [sentence]


def test_balances_follow_the_events() -> None:
    given = [ADA, BOB, PAID_IN, SENT, MoneyWithdrawn(account="bob", cents=20, at=NOW)]
    assert answer(app, given=given, when=GetAccount(account_id="bob")) == {"id": "bob", "owner": "Bob", "balance": 50}
    balances = [{"id": "ada", "balance": 30}, {"id": "bob", "balance": 50}]
    assert answer(app, given=given, when=ListAccounts())["items"] == balances
    assert answer(app, given=given, when=ListAccounts(after="ada")) == {"items": balances[1:], "next": None}


def test_a_statement_is_read_a_page_at_a_time_the_newest_first() -> None:
    given: list[Event] = [ADA, BOB, PAID_IN, SENT, MoneyDeposited(account="ada", cents=5, at=NOW)]
    lines = [
        {"number": 3, "at": AT, "what": "deposit", "cents": 5, "balance": 35},
        {"number": 2, "at": AT, "what": "to bob", "cents": -70, "balance": 30},
        {"number": 1, "at": AT, "what": "deposit", "cents": 100, "balance": 100},
    ]
    first = answer(app, given=given, when=GetStatement(account_id="ada", limit=2))
    assert first == {"items": lines[:2], "next": 2}
    second = answer(app, given=given, when=GetStatement(account_id="ada", limit=2, before=first["next"]))
    assert second == {"items": lines[2:], "next": None}


@pytest.fixture
def dualbus_app() -> str:
    return "examples.bank:app"


def test_money_is_conserved_while_everybody_moves_it_at_once(clients: list[RawClient]) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    # Given five accounts with 100 cents each, and three clients
    opened = clients[0].ask(*[command("OpenAccount", owner=f"Owner {n}") for n in range(5)])
    accounts = [one["events"][0]["payload"]["id"] for one in opened]
    clients[0].ask(*[command("Deposit", account_id=account, cents=100) for account in accounts])

    # When they transfer amounts of which many are too large, all at once
    for client in clients:
        pairs = [chance.sample(accounts, 2) for _ in range(300)]
        client.send(
            *[
                command("Transfer", n, source_id=source, target_id=target, cents=chance.randint(1, 150))
                for n, (source, target) in enumerate(pairs, start=1000)
            ]
        )
    replies = [client.wait_for(range(1000, 1300)) for client in clients]

    # Then some were refused, nobody is overdrawn, no cent is lost, and every line of a statement adds up
    outcomes = [one["body"]["success"] for answers in replies for one in answers]
    assert {True, False} == set(outcomes)
    found = clients[0].ask(*[query("GetAccount", account_id=account) for account in accounts])
    assert sum(one["data"]["balance"] for one in found) == 500
    pages = clients[0].ask(*[query("GetStatement", account_id=account, limit=100) for account in accounts])
    for page in pages:
        lines = page["data"]["items"]
        assert all(line["balance"] >= 0 for line in lines)
        assert all(newer["balance"] == older["balance"] + newer["cents"] for newer, older in pairwise(lines))
