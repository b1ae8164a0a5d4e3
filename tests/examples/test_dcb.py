"""The examples of https://dcb.events/examples, with decisions of dualbus.

Each example shows its messages and its decision, and then its rules as tests: given these events, when this command,
then these events or this refusal. What a decision reads is its consistency boundary: the last tests check it for two
commands that are decided at the same time.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Self

import pytest
from pydantic import BaseModel, Field

from dualbus import App, Client, Command, CommandResult, Email, Event, Past, Private, Rejected, Tag, Text
from dualbus.testing import NOW, Cluster, InProcess, decide
from tests.conftest import ROOT

# Course subscriptions: a course has a capacity, which can change, and a student joins at most five courses.

COURSE = Tag("course")
STUDENT = Tag("student")
COURSES_MAX = 5


class DefineCourse(Command):
    course: Text
    capacity: Annotated[int, Field(ge=1)]


class ChangeCapacity(Command):
    course: Text
    capacity: Annotated[int, Field(ge=1)]


class Subscribe(Command):
    student: Text
    course: Text


class CourseDefined(Event):
    course: Annotated[str, COURSE]
    capacity: int


class CapacityChanged(Event):
    course: Annotated[str, COURSE]
    capacity: int


class Subscribed(Event):
    student: Annotated[str, STUDENT]
    course: Annotated[str, COURSE]


@dataclass(frozen=True)
class Capacity:
    seats: int | None = None  # None: the course does not exist

    def apply(self, event: CourseDefined | CapacityChanged) -> Self:
        return replace(self, seats=event.capacity)


@dataclass(frozen=True)
class Subscriptions:
    number: int = 0

    def apply(self, event: Subscribed) -> Self:
        return replace(self, number=self.number + 1)


def define_course(command: DefineCourse, past: Past) -> Iterator[CourseDefined]:
    if past.fold(Capacity, COURSE(command.course)).seats is not None:
        raise Rejected(f"Course {command.course} already exists")
    yield CourseDefined(course=command.course, capacity=command.capacity)


def change_capacity(command: ChangeCapacity, past: Past) -> Iterator[CapacityChanged]:
    seats = past.fold(Capacity, COURSE(command.course)).seats
    if seats is None:
        raise Rejected(f"Course {command.course} does not exist")
    if seats == command.capacity:
        raise Rejected(f"{seats} is the present capacity")
    yield CapacityChanged(course=command.course, capacity=command.capacity)


def subscribe(command: Subscribe, past: Past) -> Iterator[Subscribed]:
    """Check the course, the student, and both together: three histories in one decision."""
    student, course = STUDENT(command.student), COURSE(command.course)
    seats = past.fold(Capacity, course).seats
    if seats is None:
        raise Rejected(f"Course {command.course} does not exist")
    if past.fold(Subscriptions, course).number >= seats:
        raise Rejected(f"Course {command.course} is fully booked")
    if past.events(student, course, of=Subscribed):
        raise Rejected("The student has already subscribed to this course")
    if past.fold(Subscriptions, student).number >= COURSES_MAX:
        raise Rejected(f"The student has already subscribed to {COURSES_MAX} courses")
    yield Subscribed(student=command.student, course=command.course)


courses = App(commands=[define_course, change_capacity, subscribe])
MATHS = CourseDefined(course="maths", capacity=2)


def test_a_course_is_defined_once() -> None:
    when = DefineCourse(course="maths", capacity=2)

    assert decide(courses, when=when) == [MATHS]
    with pytest.raises(Rejected, match="Course maths already exists"):
        decide(courses, given=[MATHS], when=when)


def test_the_capacity_changes_to_another_number() -> None:
    changed = CapacityChanged(course="maths", capacity=3)

    assert decide(courses, given=[MATHS], when=ChangeCapacity(course="maths", capacity=3)) == [changed]
    with pytest.raises(Rejected, match="3 is the present capacity"):
        decide(courses, given=[MATHS, changed], when=ChangeCapacity(course="maths", capacity=3))
    with pytest.raises(Rejected, match="Course maths does not exist"):
        decide(courses, when=ChangeCapacity(course="maths", capacity=3))


ADA, BOB = Subscribed(student="ada", course="maths"), Subscribed(student="bob", course="maths")


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ([], "Course maths does not exist"),
        ([MATHS, ADA, BOB], "Course maths is fully booked"),
        ([MATHS, ADA, BOB, CapacityChanged(course="maths", capacity=1)], "Course maths is fully booked"),
        ([MATHS, Subscribed(student="eve", course="maths")], "has already subscribed to this course"),
        (
            [MATHS, *(Subscribed(student="eve", course=f"course {number}") for number in range(COURSES_MAX))],
            "has already subscribed to 5 courses",
        ),
    ],
)
def test_a_student_does_not_subscribe_against_the_rules(given: list[Event], refusal: str) -> None:
    with pytest.raises(Rejected, match=refusal):
        decide(courses, given=given, when=Subscribe(student="eve", course="maths"))


@pytest.mark.parametrize("given", [[MATHS, ADA], [MATHS, ADA, BOB, CapacityChanged(course="maths", capacity=3)]])
def test_a_student_subscribes_to_a_course_with_a_free_seat(given: list[Event]) -> None:
    subscribed = [Subscribed(student="eve", course="maths")]

    assert decide(courses, given=given, when=Subscribe(student="eve", course="maths")) == subscribed


# Unique username: a name belongs to one account; a released name stays reserved for a while.

USERNAME = Tag("username")
RETENTION = timedelta(days=3)


class RegisterAccount(Command):
    username: Text


class ChangeUsername(Command):
    username: Text
    new: Text


class CloseAccount(Command):
    username: Text


class AccountRegistered(Event):
    username: Annotated[str, USERNAME]


class UsernameChanged(Event):
    old: Annotated[str, USERNAME]
    new: Annotated[str, USERNAME]
    at: datetime


class AccountClosed(Event):
    username: Annotated[str, USERNAME]
    at: datetime


@dataclass(frozen=True)
class Username:
    """A fold begins with `Username(name)`: the state has to know its own tag."""

    name: str
    claimed: bool = False
    released: datetime | None = None

    def apply(self, event: AccountRegistered | UsernameChanged | AccountClosed) -> Self:
        match event:
            case AccountRegistered():
                return replace(self, claimed=True)
            case UsernameChanged(new=new, at=at):
                return replace(self, claimed=new == self.name, released=None if new == self.name else at)
            case AccountClosed(at=at):
                return replace(self, claimed=False, released=at)

    def is_free(self, now: datetime) -> bool:
        return not self.claimed and (self.released is None or now - self.released > RETENTION)


def normalized(username: str) -> str:
    return username.casefold()  # JamesBond is jamesbond


def claim(username: str, past: Past) -> str:
    """Return the name in its normal form; reject a name that is not free."""
    name = normalized(username)
    if not past.fold(Username(name), USERNAME(name)).is_free(past.now()):
        raise Rejected(f"Username {name} is claimed")
    return name


def owned(username: str, past: Past) -> str:
    name = normalized(username)
    if not past.fold(Username(name), USERNAME(name)).claimed:
        raise Rejected(f"There is no account {name}")
    return name


def register_account(command: RegisterAccount, past: Past) -> Iterator[AccountRegistered]:
    yield AccountRegistered(username=claim(command.username, past))


def change_username(command: ChangeUsername, past: Past) -> Iterator[UsernameChanged]:
    yield UsernameChanged(old=owned(command.username, past), new=claim(command.new, past), at=past.now())


def close_account(command: CloseAccount, past: Past) -> Iterator[AccountClosed]:
    yield AccountClosed(username=owned(command.username, past), at=past.now())


accounts = App(commands=[register_account, change_username, close_account])
REGISTERED = AccountRegistered(username="u1")


def days_ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


def test_a_username_is_claimed_once() -> None:
    assert decide(accounts, when=RegisterAccount(username="U1")) == [REGISTERED]
    with pytest.raises(Rejected, match="Username u1 is claimed"):
        decide(accounts, given=[REGISTERED], when=RegisterAccount(username="u1"))


@pytest.mark.parametrize(
    "release",
    [
        lambda days: AccountClosed(username="u1", at=days_ago(days)),
        lambda days: UsernameChanged(old="u1", new="u2", at=days_ago(days)),
    ],
    ids=["closed", "changed"],
)
def test_a_released_username_can_be_claimed_after_the_retention(release: object) -> None:
    assert callable(release)
    when = RegisterAccount(username="u1")

    assert decide(accounts, given=[REGISTERED, release(4)], when=when) == [REGISTERED]
    with pytest.raises(Rejected, match="Username u1 is claimed"):
        decide(accounts, given=[REGISTERED, release(3)], when=when)


def test_the_new_name_of_an_account_is_claimed() -> None:
    changed = UsernameChanged(old="u1", new="u2", at=NOW)

    assert decide(accounts, given=[REGISTERED], when=ChangeUsername(username="u1", new="u2")) == [changed]
    with pytest.raises(Rejected, match="Username u2 is claimed"):
        decide(accounts, given=[changed], when=RegisterAccount(username="u2"))
    with pytest.raises(Rejected, match="There is no account u1"):
        decide(accounts, given=[REGISTERED, changed], when=CloseAccount(username="u1"))


# Invoice number: consecutive, without gaps. A tag holds all invoices together; the state of thousands is cached.

INVOICES = Tag("invoices")


class CreateInvoice(Command):
    customer: Text
    total: Decimal


class InvoiceCreated(Event):
    number: int
    customer: str
    total: Decimal
    series: Annotated[str, INVOICES] = "all"


@dataclass(frozen=True)
class LastInvoice:
    number: int = 0

    def apply(self, event: InvoiceCreated) -> Self:
        return replace(self, number=event.number)


def create_invoice(command: CreateInvoice, past: Past) -> Iterator[InvoiceCreated]:
    last = past.fold(LastInvoice, INVOICES("all"))
    yield InvoiceCreated(number=last.number + 1, customer=command.customer, total=command.total)


invoices = App(commands=[create_invoice])


def test_invoices_have_consecutive_numbers() -> None:
    when = CreateInvoice(customer="Ada", total=Decimal("9.90"))
    first = InvoiceCreated(number=1, customer="Ada", total=Decimal("9.90"))

    assert decide(invoices, when=when) == [first]
    assert decide(invoices, given=[first], when=when) == [first.model_copy(update={"number": 2})]


def test_a_rejected_command_leaves_no_gap_in_the_numbers() -> None:
    with InProcess(invoices) as client:
        for _ in range(3):
            client.command(CreateInvoice(customer="Ada", total=Decimal(1)))
            with pytest.raises(Rejected, match="Customer is required"):
                client.command("CreateInvoice", customer=" ", total="1")
        assert [record.payload["number"] for record in client.events()] == [1, 2, 3]


# Opt-in token: an address is confirmed with a token, once, within an hour. The token is private: no reply shows it.

EMAIL = Tag("email")
TOKEN = Tag("token")
VALID = timedelta(minutes=60)


class SignUp(Command):
    name: Text
    email: Email


class ConfirmSignUp(Command):
    email: Email
    token: Text


class SignUpInitiated(Event):
    name: str
    email: Annotated[str, EMAIL, Private]
    token: Annotated[str, TOKEN, Private]
    at: datetime


class SignUpConfirmed(Event):
    name: str
    email: Annotated[str, EMAIL, Private]
    token: Annotated[str, TOKEN, Private]


@dataclass(frozen=True)
class PendingSignUp:
    name: str = ""
    initiated: datetime | None = None
    used: bool = False

    def apply(self, event: SignUpInitiated | SignUpConfirmed) -> Self:
        match event:
            case SignUpInitiated(name=name, at=at):
                return replace(self, name=name, initiated=at)
            case SignUpConfirmed():
                return replace(self, used=True)


def sign_up(command: SignUp, past: Past) -> Iterator[SignUpInitiated]:
    yield SignUpInitiated(name=command.name, email=command.email, token=past.new_id(), at=past.now())


def confirm_sign_up(command: ConfirmSignUp, past: Past) -> Iterator[SignUpConfirmed]:
    """Read the events that carry the address and the token: the token of another address finds nothing."""
    pending = past.fold(PendingSignUp, EMAIL(command.email), TOKEN(command.token))
    if pending.initiated is None:
        raise Rejected("There is no pending sign-up for this address and token")
    if pending.used:
        raise Rejected("The token was already used")
    if past.now() - pending.initiated > VALID:
        raise Rejected("The token has expired")
    yield SignUpConfirmed(name=pending.name, email=command.email, token=command.token)


sign_ups = App(commands=[sign_up, confirm_sign_up])
CONFIRM = ConfirmSignUp(email="john@example.com", token="id-1")


def initiated(minutes_ago: int = 1, email: str = "john@example.com") -> SignUpInitiated:
    return SignUpInitiated(name="John", email=email, token="id-1", at=NOW - timedelta(minutes=minutes_ago))


CONFIRMED = SignUpConfirmed(name="John", email="john@example.com", token="id-1")


def test_an_address_is_confirmed_with_its_token() -> None:
    assert decide(sign_ups, when=SignUp(name="John", email="john@example.com")) == [initiated(minutes_ago=0)]
    assert decide(sign_ups, given=[initiated()], when=CONFIRM) == [CONFIRMED]
    assert decide(sign_ups, given=[initiated(60)], when=CONFIRM) == [CONFIRMED]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ([], "There is no pending sign-up"),
        ([initiated(), CONFIRMED], "The token was already used"),
        ([initiated(61)], "The token has expired"),
    ],
)
def test_a_token_is_refused(given: list[Event], refusal: str) -> None:
    with pytest.raises(Rejected, match=refusal):
        decide(sign_ups, given=given, when=CONFIRM)


def test_a_token_of_another_address_is_refused_and_no_reply_shows_a_token() -> None:
    with InProcess(sign_ups) as client:
        shown = client.command(SignUp(name="Jane", email="jane@example.com"))
        with pytest.raises(Rejected, match="There is no pending sign-up"):
            client.command(CONFIRM)
    assert shown.events == [{"type": "SignUpInitiated", "payload": {"name": "Jane", "at": "2026-01-31T12:00:00Z"}}]


# Dynamic product price: a displayed price is valid at present, or was replaced at most ten minutes ago.

PRODUCT = Tag("product")
GRACE = timedelta(minutes=10)


class Item(BaseModel):
    product: Text
    price: Decimal  # as displayed


class OrderProducts(Command):
    items: Annotated[list[Item], Field(min_length=1)]


class DefineProduct(Command):
    product: Text
    price: Decimal


class ChangePrice(Command):
    product: Text
    price: Decimal


class ProductDefined(Event):
    product: Annotated[str, PRODUCT]
    price: Decimal
    at: datetime


class PriceChanged(Event):
    product: Annotated[str, PRODUCT]
    price: Decimal
    at: datetime


class ProductsOrdered(Event):
    products: Annotated[list[str], PRODUCT]  # a tag for each product
    prices: list[Decimal]


@dataclass(frozen=True)
class Prices:
    """The present price, and replaced prices with the time until which they were displayed.

    A state has no clock, so that it can be cached: the decision compares the times with its own.
    """

    present: Decimal | None = None
    replaced: tuple[tuple[Decimal, datetime], ...] = ()

    def apply(self, event: ProductDefined | PriceChanged) -> Self:
        if self.present is None:
            return replace(self, present=event.price)
        recent = tuple(one for one in self.replaced if event.at - one[1] <= GRACE)
        return replace(self, present=event.price, replaced=(*recent, (self.present, event.at)))

    def valid(self, now: datetime) -> set[Decimal]:
        recent = {price for price, until in self.replaced if now - until <= GRACE}
        return recent if self.present is None else recent | {self.present}


def define_product(command: DefineProduct, past: Past) -> Iterator[ProductDefined]:
    if past.fold(Prices, PRODUCT(command.product)).present is not None:
        raise Rejected("The product exists")
    yield ProductDefined(product=command.product, price=command.price, at=past.now())


def change_price(command: ChangePrice, past: Past) -> Iterator[PriceChanged]:
    if past.fold(Prices, PRODUCT(command.product)).present is None:
        raise Rejected("The product does not exist")
    yield PriceChanged(product=command.product, price=command.price, at=past.now())


def order_products(command: OrderProducts, past: Past) -> Iterator[ProductsOrdered]:
    """Read the prices of each ordered product: the boundary has as many histories as the cart has products."""
    for item in command.items:
        if item.price not in past.fold(Prices, PRODUCT(item.product)).valid(past.now()):
            raise Rejected(f"The price of {item.product} is no longer valid")
    yield ProductsOrdered(
        products=[item.product for item in command.items], prices=[item.price for item in command.items]
    )


shop = App(commands=[define_product, change_price, order_products])


def minutes_ago(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


def defined(product: str = "p1", price: int = 123, minutes: int = 20) -> ProductDefined:
    return ProductDefined(product=product, price=Decimal(price), at=minutes_ago(minutes))


def changed(price: int, minutes: int) -> PriceChanged:
    return PriceChanged(product="p1", price=Decimal(price), at=minutes_ago(minutes))


def order(**prices: int) -> OrderProducts:
    return OrderProducts(items=[Item(product=name, price=Decimal(price)) for name, price in prices.items()])


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ([defined()], 123),
        ([defined(), changed(134, 9)], 134),
        ([defined(), changed(134, 9)], 123),
        ([defined(), changed(134, 10), changed(145, 1)], 123),
        ([defined(), changed(134, 10), changed(145, 1)], 134),
    ],
)
def test_a_valid_price_is_accepted(given: list[Event], price: int) -> None:
    ordered = ProductsOrdered(products=["p1"], prices=[Decimal(price)])

    assert decide(shop, given=given, when=order(p1=price)) == [ordered]


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ([], 123),
        ([defined()], 100),
        ([defined(), changed(134, 11)], 123),
        ([defined(), changed(134, 15), changed(145, 11)], 134),
    ],
)
def test_a_price_that_was_never_displayed_or_replaced_long_ago_is_refused(given: list[Event], price: int) -> None:
    with pytest.raises(Rejected, match="The price of p1 is no longer valid"):
        decide(shop, given=given, when=order(p1=price))


def test_a_cart_is_ordered_as_a_whole() -> None:
    given = [defined(), changed(134, 9), defined("p2", 321, 8)]

    [ordered] = decide(shop, given=given, when=order(p1=123, p2=321))
    assert ordered == ProductsOrdered(products=["p1", "p2"], prices=[Decimal(123), Decimal(321)])
    with pytest.raises(Rejected, match="The price of p2 is no longer valid"):
        decide(shop, given=given, when=order(p1=123, p2=320))


# Prevention of record duplication: the same form, sent twice, is one order.

FORM = Tag("form")


class PlaceOrder(Command):
    form: Text  # a random token of the form


class OrderPlaced(Event):
    order: Annotated[str, Tag("order")]
    form: Annotated[str, FORM]


def place_order(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    if past.events(FORM(command.form)):
        raise Rejected("The order was already placed")
    yield OrderPlaced(order=past.new_id(), form=command.form)


orders = App(commands=[place_order])


def test_a_form_places_one_order() -> None:
    placed = OrderPlaced(order="id-1", form="11111")

    assert decide(orders, when=PlaceOrder(form="11111")) == [placed]
    with pytest.raises(Rejected, match="The order was already placed"):
        decide(orders, given=[placed], when=PlaceOrder(form="11111"))


def test_an_idempotency_key_does_the_same_without_a_tag_and_returns_the_first_result() -> None:
    with InProcess(orders) as client:
        first = client.command(PlaceOrder(form="1"), idempotency_key="form-1")
        again = client.command(PlaceOrder(form="1"), idempotency_key="form-1")
        assert (again, again.repeated) == (first, True)
        assert len(list(client.events())) == 1


# At the same time: in a cluster, many clients send commands of which the rules allow some.

everything = App(
    commands=[
        *(define_course, change_capacity, subscribe),
        *(register_account, change_username, close_account),
        *(create_invoice, place_order, sign_up, confirm_sign_up),
        *(define_product, change_price, order_products),
    ],
)


def attempt(client: Client, command: Command) -> CommandResult | None:
    """Return the result of a command, or None for a rejection."""
    try:
        return client.command(command)
    except Rejected:
        return None


def test_the_rules_hold_for_commands_that_are_decided_at_the_same_time() -> None:
    with (
        Cluster(app="tests.examples.test_dcb:everything", cwd=ROOT) as cluster,
        Client(cluster.front, timeout=60) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        client.command(DefineCourse(course="maths", capacity=10))
        commands: list[Command] = [
            *(Subscribe(student=f"s{number}", course="maths") for number in range(30)),
            *(RegisterAccount(username="bond") for _ in range(20)),
            *(CreateInvoice(customer="Ada", total=Decimal(1)) for _ in range(40)),
            *(PlaceOrder(form="11111") for _ in range(20)),
        ]
        results = list(threads.map(lambda command: attempt(client, command), commands))

    events = [event for result in results if result for event in result.events]
    numbers = [event["payload"]["number"] for event in events if event["type"] == "InvoiceCreated"]
    assert sorted(numbers) == list(range(1, 41))
    assert len([event for event in events if event["type"] == "Subscribed"]) == 10
    assert len([event for event in events if event["type"] == "AccountRegistered"]) == 1
    assert len([event for event in events if event["type"] == "OrderPlaced"]) == 1
