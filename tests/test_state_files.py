"""States of long histories, kept in files: a restart folds the later events only, and never reads a wrong state."""

import json
import random
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from dualbus import App, Client, Event, Tag
from dualbus.application.exact import is_same
from dualbus.application.state_keys import Key, key_of
from dualbus.commandbus.history import History
from dualbus.commandbus.loaded_code import CodeUnknown, LoadedCode
from dualbus.commandbus.state_cache import SAVE_EVENTS, CachedState, StateCache
from dualbus.commandbus.state_folder import FILES_MAX, StateFolder
from dualbus.commandbus.state_json import SIZE_MAX, packed, unpacked
from dualbus.log.contract import GENESIS, Decision, NewEvent, Origin, RecordedEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.testing import Cluster, until
from dualbus.worker.interrupt import Interrupt
from tests.drain import NOW

MANY = SAVE_EVENTS + 500
ACCOUNT, ANY = ("account:a",), frozenset[str]()


class Paid(Event):
    account: Annotated[str, Tag("account")]
    amount: int


@dataclass(frozen=True)
class Account:
    total: int = 0
    events: int = 0

    def apply(self, event: Paid) -> Self:
        return replace(self, total=self.total + event.amount, events=self.events + 1)


app = App(events=[Paid])


class Code(LoadedCode):
    """Code with this hash: the modules of a test run vary."""

    def __init__(self, name: str = "code") -> None:
        super().__init__("test:app")
        self.__dict__["hash"] = name

    def later(self) -> dict[str, str]:
        return {}


class CountedLog(SqliteLog):
    """Counts the events that are read as histories."""

    def __init__(self, folder: Path) -> None:
        self.events_read = 0
        super().__init__(folder, lambda secret: Decision(GENESIS, NOW, []))

    def history(
        self, tags: Sequence[str], types: Collection[str] = (), after: int = 0, limit: int = -1
    ) -> list[RecordedEvent]:
        found = super().history(tags, types, after, limit)
        self.events_read += len(found)
        return found

    def pay(self, amount: int, times: int = 1) -> None:
        new = NewEvent("Paid", f'{{"account":"a","amount":{amount}}}', ACCOUNT)
        name = f"c-{self.head().position}"
        assert self.append([Decision(name, NOW, [new] * times, origin=Origin("Pay"))]).decisions == 1


@pytest.fixture
def log(folder: Path) -> Iterator[CountedLog]:
    with closing(CountedLog(folder)) as made:
        yield made


def fold(log: CountedLog, states: StateCache, initial: Any = Account) -> Any:
    """Return the state of the account after a start with these states; write the files that are due."""
    state = History(app, log, states, NOW, lambda: "id", Interrupt()).fold(initial, ACCOUNT, ANY)
    states.save_next()
    return state


def started(log: CountedLog, folder: Path, code: str = "code") -> StateCache:
    """Return the states of a process that has started now; forget what was read before."""
    log.events_read = 0
    return StateCache(files=StateFolder(folder, log, Code(code)))


def test_a_restart_folds_only_the_events_after_the_file(log: CountedLog, folder: Path) -> None:
    log.pay(1, MANY)
    assert fold(log, started(log, folder)) == Account(MANY, MANY)
    assert log.events_read == MANY
    log.pay(2, 3)

    states = started(log, folder)

    assert fold(log, states) == fold(log, states) == Account(MANY + 6, MANY + 3)
    assert log.events_read == 3


def test_a_short_history_has_no_file(log: CountedLog, folder: Path) -> None:
    log.pay(1, SAVE_EVENTS - 1)
    fold(log, started(log, folder))

    assert not (folder / "states").exists()


def test_a_file_is_written_again_after_as_many_events(log: CountedLog, folder: Path) -> None:
    log.pay(1, MANY)
    states = started(log, folder)
    fold(log, states)
    [file] = (folder / "states").iterdir()
    first = file.read_bytes()

    log.pay(1, SAVE_EVENTS - 1)
    fold(log, states)
    assert file.read_bytes() == first
    log.pay(1, 1)
    fold(log, states)
    assert file.read_bytes() != first
    assert fold(log, started(log, folder)).events == MANY + SAVE_EVENTS
    assert log.events_read == 0


def test_files_are_private(log: CountedLog, folder: Path) -> None:
    log.pay(1, MANY)
    fold(log, started(log, folder))
    [file] = (folder / "states").iterdir()

    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    "initial", [Account(), Account(5), replace(Account(), events=1)], ids=["equal", "total", "events"]
)
def test_another_initial_state_is_another_state(log: CountedLog, folder: Path, initial: Account) -> None:
    log.pay(1, MANY)
    fold(log, started(log, folder))
    fold(log, started(log, folder), Account(7))

    assert fold(log, started(log, folder), initial).total == MANY + initial.total
    assert log.events_read == MANY
    fold(log, started(log, folder), Account(7))
    assert log.events_read == 0


def test_the_state_of_other_code_is_not_read(log: CountedLog, folder: Path) -> None:
    log.pay(1, MANY)
    fold(log, started(log, folder))

    assert fold(log, started(log, folder, "other code")).events == MANY
    assert log.events_read == MANY


@pytest.mark.parametrize("later", [0, 1000])
def test_the_state_of_another_log_is_not_read(log: CountedLog, folder: Path, later: int) -> None:
    log.pay(1, MANY)
    fold(log, started(log, folder))

    with closing(CountedLog(folder / "other")) as other:  # the same positions, or fewer
        other.pay(2, SAVE_EVENTS + later)
        (folder / "states").rename(folder / "other" / "states")

        assert fold(other, started(other, folder / "other")).total == 2 * (SAVE_EVENTS + later)
        assert other.events_read == SAVE_EVENTS + later


def test_a_log_that_has_lost_events_is_folded_again(log: CountedLog, folder: Path) -> None:
    log.pay(1, SAVE_EVENTS)
    before = (folder / "log.db").read_bytes(), (folder / "log.db-wal").read_bytes()
    log.pay(1, MANY)
    fold(log, started(log, folder))
    earlier = folder / "earlier"
    earlier.mkdir()
    (earlier / "log.db").write_bytes(before[0])
    (earlier / "log.db-wal").write_bytes(before[1])
    (folder / "states").rename(earlier / "states")

    with closing(CountedLog(earlier)) as lost:
        assert fold(lost, started(lost, earlier)).events == SAVE_EVENTS
        lost.pay(5, MANY)  # beyond the position of the file
        assert fold(lost, started(lost, earlier)).total == SAVE_EVENTS + 5 * MANY


@pytest.mark.parametrize("part", [0.0, 0.05, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("damage", ["flip", "cut", "zero"])
def test_a_damaged_file_is_ignored_with_a_warning(
    log: CountedLog, folder: Path, part: float, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    log.pay(1, MANY)
    fold(log, started(log, folder))
    [file] = (folder / "states").iterdir()
    content = bytearray(file.read_bytes())
    at = int(part * len(content))
    if damage == "flip":
        content[at] ^= 1
    else:
        content[at:] = b"" if damage == "cut" else bytes(len(content) - at)
    file.write_bytes(content)

    assert fold(log, started(log, folder)).events == MANY
    assert log.events_read == MANY
    assert f"{file} is damaged: Account is folded from the log." in caplog.text
    assert fold(log, started(log, folder)).events == MANY  # from a new file
    assert log.events_read == 0


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_files_that_cannot_be_written_change_nothing(
    log: CountedLog, folder: Path, obstacle: str, caplog: pytest.LogCaptureFixture
) -> None:
    log.pay(1, MANY)
    if obstacle == "file":
        (folder / "states").write_text("in the way")
    else:
        fold(log, started(log, folder))
        [file] = (folder / "states").iterdir()
        file.unlink()
        file.mkdir()
    states = started(log, folder)

    assert fold(log, states).events == fold(log, states).events == MANY
    assert "States are not kept" in caplog.text


def test_files_of_interrupted_writes_are_removed(log: CountedLog, folder: Path) -> None:
    (folder / "states").mkdir()
    (folder / "states" / "abc.new").write_text("half")
    started(log, folder)

    assert list((folder / "states").iterdir()) == []


def test_a_link_in_the_place_of_the_folder_removes_no_file(log: CountedLog, folder: Path) -> None:
    foreign = folder / "foreign"
    foreign.mkdir()
    (foreign / "precious.txt").write_text("precious")
    (folder / "states").symlink_to(foreign)

    log.pay(1, MANY)

    assert fold(log, started(log, folder)) == Account(MANY, MANY)
    assert [path.name for path in foreign.iterdir()] == ["precious.txt"]


def test_the_number_of_files_is_bounded(log: CountedLog, folder: Path) -> None:
    log.pay(1)
    files = StateFolder(folder, log, Code())
    for number in range(FILES_MAX + 5):
        files.save(Key(Account, (f"account:{number}",), ANY), CachedState(1, Account(number), 0))

    assert len(list((folder / "states").iterdir())) == FILES_MAX
    again = StateFolder(folder, log, Code())
    assert again.load(Key(Account, ("account:0",), ANY)) is None
    assert again.load(Key(Account, (f"account:{FILES_MAX}",), ANY)) == (1, Account(FILES_MAX), 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_state_is_that_of_the_log_whatever_happens_between(
    folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualbus.commandbus.state_cache.SAVE_EVENTS", 3)
    chance = random.Random(seed)
    initials: list[Any] = [Account, Account(1)]
    with closing(CountedLog(folder)) as log:
        states = started(log, folder)
        for _ in range(150):
            match chance.randrange(8):
                case 0:  # a start, some with other code
                    states = started(log, folder, chance.choice(["code", "code", "other code"]))
                case 1:  # a damaged file
                    for file in folder.glob("states/*"):
                        file.write_bytes(file.read_bytes()[: chance.randrange(500)])
                case 2:  # another writer
                    log.pay(chance.randrange(9), chance.randrange(1, 5))
                case 3:
                    states.save_next()
                case _:  # a batch, which may be lost
                    batch = History(app, log, states, NOW, lambda: "id", Interrupt())
                    for number in range(chance.randrange(4)):
                        if chance.random() < 0.5:
                            batch.fold(chance.choice(initials), ACCOUNT, ANY)
                        new = NewEvent("Paid", f'{{"account":"a","amount":{number}}}', ACCOUNT)
                        batch.add(Decision(f"b-{log.head().position}-{number}", NOW, [new], origin=Origin("Pay")))
                    if chance.random() < 0.8 and batch.decisions:
                        log.append(batch.decisions)
                        batch.commit_states()
            for initial in initials:
                assert fold(log, states, initial) == fold(log, StateCache(), initial)
    assert list(folder.glob("states/*"))


# Exactly the same value, or no file.


class Kind(Enum):
    SMALL = "small"


class Line(BaseModel):
    model_config = ConfigDict(frozen=True)

    item: str = Field(alias="name", default="")
    price: Decimal = Decimal(0)


@dataclass(frozen=True)
class Whole:
    text: str
    number: float
    exact: Decimal
    when: datetime
    day: date
    span: timedelta
    id: UUID
    kind: Kind
    lines: tuple[Line, ...]
    names: frozenset[str]
    counts: dict[int, list[bool | None]]
    inner: Account


WHOLE = Whole(
    text="é\0\U0001f511",
    number=0.1,
    exact=Decimal("1.10"),
    when=datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    day=date(2026, 1, 2),
    span=timedelta(days=1, microseconds=1),
    id=UUID(int=5),
    kind=Kind.SMALL,
    lines=(Line(name="a", price=Decimal("0.10")), Line()),
    names=frozenset({"b", "a"}),
    counts={2: [True, None], 1: []},
    inner=Account(3),
)


@dataclass(frozen=True)
class Loose:
    value: Any = None
    hidden: Any = field(default=None, compare=False)

    @cached_property
    def double(self) -> Any:
        return self.value * 2


class Noting(BaseModel):
    name: str = ""
    _note: str = PrivateAttr(default="")


def noting(note: str) -> Noting:
    made = Noting(name="a")
    made._note = note
    return made


def used(loose: Loose) -> Loose:
    assert loose.double
    return loose


def test_a_state_of_many_types_is_read_back_exactly() -> None:
    data = packed(WHOLE)

    assert data is not None
    assert is_same(unpacked(Whole, data), WHOLE)


@pytest.mark.parametrize(
    "state",
    [
        Loose((1, 2)),  # a list after JSON
        Loose(Decimal(1)),
        Loose(datetime(2026, 1, 1, tzinfo=UTC)),
        Loose(Account()),
        Loose(hidden=(1,)),
        Loose({1: 2}),
        Loose(frozenset({1})),
        Loose("\ud800"),
        Loose(object()),
        Loose(float("nan")),
        replace(WHOLE, number=1),
        replace(WHOLE, exact=1.5),  # type: ignore[arg-type]
        replace(WHOLE, text="x" * SIZE_MAX),
        replace(WHOLE, counts={number: [] for number in range(SIZE_MAX // 16)}),
        used(Loose(1)),
        noting("private"),
        5,
        None,
    ],
    ids=lambda state: str(state).partition("=<")[0][:40],
)
def test_a_state_that_would_not_be_the_same_has_no_file(state: Any) -> None:
    assert packed(state) is None


@dataclass(frozen=True)
class Planned:
    at: datetime | time

    def apply(self, event: Event) -> Self:
        return self


BERLIN, LAGOS = (ZoneInfo(name) for name in ("Europe/Berlin", "Africa/Lagos"))


def test_equal_times_of_two_zones_are_two_states() -> None:
    """A zone in summer is an hour ahead of another one, and a file has the offset alone."""
    for at in (datetime(2026, 1, 15, 9), time(9)):
        berlin, lagos = (Planned(at.replace(tzinfo=zone)) for zone in (BERLIN, LAGOS))

        assert [packed(one) for one in (berlin, lagos)] == [None, None]
        assert key_of(berlin, (), frozenset()) != key_of(lagos, (), frozenset())
        assert key_of(berlin, (), frozenset()) == key_of(replace(berlin), (), frozenset())
    assert packed(Planned(datetime(2026, 1, 15, 9, tzinfo=timezone(timedelta(hours=1))))) is not None
    assert packed(Planned(datetime(2026, 1, 15, 9, tzinfo=ZoneInfo("UTC")))) is not None


def test_a_class_that_a_name_does_not_lead_to_has_no_file() -> None:
    @dataclass(frozen=True)
    class Local:
        value: int = 1

    assert packed(Local()) is None
    assert packed(Loose(5)) is not None


# The code.

SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import first
from dualbus.commandbus.loaded_code import CodeUnknown, LoadedCode
code = LoadedCode({app!r})
try:
    {change}
    print(code.hash)
    import second
    print(sorted(code.later().values()))
except CodeUnknown as unknown:
    print(unknown)
"""


def hashes(folder: Path, change: str = "", app: str = "first:app", flags: tuple[str, ...] = ()) -> list[str]:
    command = [sys.executable, *flags, "-c", SCRIPT.format(folder=str(folder), change=change, app=app)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_hash_of_the_code_covers_all_modules(folder: Path) -> None:
    (folder / "first.py").write_text("A = 1")
    (folder / "second.py").write_text("B = 1")
    before = hashes(folder)
    assert hashes(folder) == before
    assert hashes(folder, app="first:other")[0] != before[0]
    assert hashes(folder, flags=("-O",))[0] != before[0]

    (folder / "second.py").write_text("B = 20")
    imported_later = hashes(folder)
    (folder / "first.py").write_text("A = 20")
    imported_first = hashes(folder)

    assert imported_later[0] == before[0]
    assert imported_later[1] != before[1]
    assert imported_first[0] != before[0]
    assert imported_first[1] == imported_later[1]


def test_code_that_has_changed_since_the_start_is_unknown(folder: Path) -> None:
    (folder / "first.py").write_text("A = 1")
    (folder / "second.py").write_text("B = 1")

    changed = hashes(folder, change="Path(first.__file__).write_text('A = 3')")
    assert changed == [f"{folder}/first.py has changed since the start of the process"]


SWITCH = "os.symlink('43', 'next'); os.rename('next', 'current')"


@pytest.mark.parametrize(
    ("change", "module"),
    [(SWITCH, "first"), (f"code.hash, code.hash_of(first.__file__.replace('first', 'second')); {SWITCH}", "second")],
    ids=["before the first hash", "before an import"],
)
def test_code_is_unknown_after_a_switch_to_another_release_that_is_older_than_the_process(
    folder: Path, change: str, module: str
) -> None:
    for release in ("42", "43"):
        (folder / release).mkdir()
        (folder / release / "first.py").write_text(f"A = {release}")
        (folder / release / "second.py").write_text(f"B = {release}")
    current = folder / "current"
    current.symlink_to("42")
    assert len(hashes(current)) == 2

    switched = hashes(current, change=f"os.chdir({str(folder)!r}); {change}")

    assert switched[-1] == f"{current}/{module}.py has changed since the start of the process"


def test_without_the_start_of_the_process_the_code_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dualbus.commandbus.loaded_code.SYSTEM_STAT", Path("/nowhere"))
    with pytest.raises(CodeUnknown):
        _ = LoadedCode("test:app").hash


# Processes.

SOURCE = """
from dataclasses import dataclass
from typing import Annotated
from dualbus import App, Command, Event, Tag
from weights import WEIGHT

APPLIED = 0
ACCOUNT = Tag("account")

class Pay(Command):
    times: int

class Paid(Event):
    account: Annotated[str, ACCOUNT]

class Look(Command):
    pass

class Looked(Event):
    total: int
    applied: int

@dataclass(frozen=True)
class Account:
    total: int = 0

    def apply(self, event: Paid) -> "Account":
        global APPLIED
        from later import FACTOR
        APPLIED += 1
        return Account(self.total + WEIGHT * FACTOR * 1)

def pay(command: Pay, past) -> list[Paid]:
    past.fold(Account, ACCOUNT("a"))
    return [Paid(account="a")] * command.times

def look(command: Look, past) -> list[Looked]:
    return [Looked(total=past.fold(Account, ACCOUNT("a")).total, applied=APPLIED)]

app = App(commands=[pay, look])
"""


class Bank:
    """A cluster whose application is in files of the test."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.folder = cluster.folder
        (self.folder / "bank.py").write_text(SOURCE)
        (self.folder / "weights.py").write_text("WEIGHT = 1")
        (self.folder / "later.py").write_text("FACTOR = 1")
        cluster.start("gateway", "commandbus")

    def look(self, client: Client) -> tuple[int, int]:
        """Return the total, and how many events the process has folded."""
        [event] = client.command("Look").events
        return event["payload"]["total"], event["payload"]["applied"]

    def saved(self) -> int:
        """Return the position of the file of the account."""
        for file in (self.cluster.data / "states").glob("*"):
            if not file.suffix:
                return int(json.loads(file.read_bytes().split(b"\n")[1])["position"])
        return 0


@pytest.fixture
def bank(folder: Path) -> Iterator[Bank]:
    with Cluster(folder, "bank:app", cwd=folder) as cluster:
        yield Bank(cluster)


def test_a_killed_commandbus_folds_only_the_later_events(bank: Bank) -> None:
    with Client(bank.cluster.front, timeout=60) as client:
        for _ in range(5):
            client.command("Pay", times=1000)
        assert bank.look(client) == (5000, 5000)
        until(lambda: bank.saved() == 5000)
        client.command("Pay", times=3)

        bank.cluster.restart("commandbus")

        assert bank.look(client) == (5003, 3)


@pytest.mark.parametrize(
    ("name", "old", "new", "total"),
    [
        ("bank.py", "* FACTOR * 1", "* FACTOR * 10", 20_000),
        ("weights.py", "= 1", "= 100", 200_000),
        ("later.py", "= 1", "= 1000", 2_000_000),
        ("bank.py", "APPLIED = 0", "APPLIED =  0", 2000),
    ],
)
def test_changed_code_folds_all_events_again(bank: Bank, name: str, old: str, new: str, total: int) -> None:
    with Client(bank.cluster.front, timeout=60) as client:
        client.command("Pay", times=1000)
        client.command("Pay", times=1000)
        assert bank.look(client) == (2000, 2000)
        until(lambda: bank.saved() == 2000)
        source = bank.folder / name
        source.write_text(source.read_text().replace(old, new))

        bank.cluster.restart("commandbus")

        assert bank.look(client) == (total, 2000)


def test_without_the_files_nothing_changes(bank: Bank) -> None:
    with Client(bank.cluster.front, timeout=60) as client:
        client.command("Pay", times=1000)
        client.command("Pay", times=1)
        until(lambda: bank.saved() >= 1000)
        bank.cluster.kill("commandbus")
        for file in (bank.cluster.data / "states").iterdir():
            file.unlink()
        bank.cluster.start("commandbus")

        assert bank.look(client) == (1001, 1001)
