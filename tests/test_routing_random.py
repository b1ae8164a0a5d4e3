"""Random clients, workers, deaths and delays at a gateway without sockets; what must hold whatever happens."""

import random
from collections import defaultdict

import pytest

from dualbus.protocol.codec import pack, unpack
from dualbus.protocol.codes import Code
from dualbus.protocol.records import NO_DETAILS, Response, Work
from tests.desk import Desk, Envelope, command, query

CLIENTS, SOURCES = [b"a", b"b", b"c"], ["x", "y"]
STEPS = 1500

SessionName = tuple[bytes, str]


class World:
    """The rest of the cluster: a log, workers that work in order, and clients that remember what they were told."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.desk = Desk()
        self.has: dict[bytes, list[Work]] = {}  # what each live worker has to do
        self.credit: dict[bytes, int] = {}
        self.log: list[str] = []  # keys of commands, at their positions
        self.asked: dict[int, SessionName] = {}
        self.keys: dict[int, str | None] = {}  # message id to the key that its command was sent with
        self.replies: dict[int, list[tuple[int, int | str]]] = defaultdict(list)
        self.seen: dict[SessionName, int] = defaultdict(int)
        self.due: dict[int, int] = {}  # query to the least position that its answer may have
        self.before: dict[int, list[int]] = {}  # query to the commands its session sent before it
        self.gone: set[int] = set()
        self._names = 0

    def step(self) -> None:
        """Do one thing by chance."""
        chances = {
            self.ask: 30,
            self.dispatch: 25,
            self.work: 25,
            self.pass_time: 6,
            self.greet: 4,
            self.lose: 3,
            self.leave: 1,
            self.vanish: 1,
        }
        [act] = self.random.choices(list(chances), list(chances.values()))
        act()
        self.listen()

    def ask(self) -> None:
        """A client sends a few messages of one session."""
        client, src = self.random.choice(CLIENTS), self.random.choice(SOURCES)
        for _ in range(self.random.randint(1, 5)):
            msg_id = len(self.asked)
            more: Envelope = {"timeout_ms": self.random.choice([50, 500, 5000])}
            if self.random.random() < 0.2:
                more["dest"] = ""
            make = self.random.choice([command, query])
            if make is query:
                self.due[msg_id] = self.seen[client, src]
                earlier = [one for one, name in self.asked.items() if name == (client, src)]
                self.before[msg_id] = [one for one in earlier if one not in self.due]
            self.asked[msg_id] = client, src
            self.desk.ask(make(msg_id, src=src, **more), client=client)

    def dispatch(self) -> None:
        """The gateway gives out work; a command keeps its key however often it is sent."""
        for id_, work in self.desk.dispatch():
            self.has[id_].append(work)
            assert self.keys.setdefault(work.body["msg_id"], work.key) == work.key

    def work(self) -> None:
        """A worker does some of what it has, in order; now and then it dies before it answers."""
        busy = [id_ for id_, works in self.has.items() if works]
        if not busy:
            return
        id_ = self.random.choice(busy)
        count = self.random.randint(1, len(self.has[id_]))
        done, self.has[id_] = self.has[id_][:count], self.has[id_][count:]
        answers = [self._do(work) for work in done]
        if self.random.random() < 0.05:
            self._die(id_)
            return
        worker = self.desk.router.workers.worker(id_)
        assert worker
        self.desk.router.workers.done(worker, answers, self.desk.now)

    def _do(self, work: Work) -> Response:
        if work.key is None:
            assert work.after <= len(self.log)
            position = self.random.randint(work.after, len(self.log))
        else:
            if work.key not in self.log:
                self.log.append(work.key)
            position = self.log.index(work.key) + 1
        return work.id, position, pack({"type": "ok", "in_reply_to": work.body["msg_id"]}), NO_DETAILS

    def pass_time(self) -> None:
        """Time passes; perhaps a worker is silent for so long that it counts as dead."""
        self.desk.wait(self.random.choice([0.01, 0.06, 0.3, 1.0]))

    def greet(self) -> None:
        """A worker comes; a second commandbus takes the place of the first."""
        dest = self.random.choice(["commandbus", "querybus"])
        if sum(id_.startswith(dest.encode()) for id_ in self.has) >= 3:
            return
        self._names += 1
        id_ = f"{dest}-{self._names}".encode()
        if dest == "commandbus":
            self.has = {one: works for one, works in self.has.items() if one.startswith(b"querybus")}
        self.has[id_], self.credit[id_] = [], self.random.randint(1, 8)
        assert self.desk.greet(dest, id_, credit=self.credit[id_], position=len(self.log)) is None

    def lose(self) -> None:
        """A worker dies."""
        if self.has:
            self._die(self.random.choice(list(self.has)))

    def _die(self, id_: bytes) -> None:
        del self.has[id_]
        self.desk.router.workers.lost(id_, "is gone")

    def leave(self) -> None:
        """A worker asks for no more, and those that asked before and are done go."""
        if self.has and (worker := self.desk.router.workers.worker(self.random.choice(list(self.has)))):
            self.desk.router.workers.leave(worker)
        for id_ in self.desk.router.pop_leaving():
            assert not self.has.pop(id_)

    def vanish(self) -> None:
        """A client goes without a word; one of the same name may come."""
        client = self.random.choice(CLIENTS)
        self.gone |= {one for one, name in self.asked.items() if name[0] == client and not self.replies[one]}
        self.desk.router.client_disconnected(self.desk.router.clients.of(client))

    def listen(self) -> None:
        """Clients take their replies: nothing they are told is older than what they have seen and done."""
        for client in CLIENTS:
            mailbox = self.desk.router.clients.of(client)
            while mailbox.outbox:
                reply = unpack(mailbox.pop_reply())
                body, position = reply["body"], reply["position"]
                msg_id, what = body["in_reply_to"], body.get("code", body["type"])
                self.replies[msg_id].append((position, what))
                if what != "ok":
                    continue
                name = self.asked[msg_id]
                if msg_id in self.due:
                    acknowledged = [p for one in self.before[msg_id] for p, said in self.replies[one] if said == "ok"]
                    assert position >= max([self.due[msg_id], *acknowledged])
                self.seen[name] = max(self.seen[name], position)

    def check(self) -> None:
        """What must hold after every step."""
        router = self.desk.router
        of_clients = [router.clients.of(client) for client in CLIENTS]
        assert len(router.pending) == sum(client.requests for client in of_clients)
        assert router.pending.bytes == sum(client.usage.bytes for client in of_clients)
        for bus in router.workers.buses.values():
            in_queues = sum(lane.queued_by(client) for lane in (bus.quick, bus.slow) for client in of_clients)
            assert bus.queued == len(bus.requeued) + in_queues
            for worker in bus.workers.values():
                assert len(worker.in_flight) <= self.credit[worker.id]


@pytest.mark.parametrize("run", range(8))
def test_every_request_is_answered_once_and_truthfully_whatever_happens(run: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    world = World(seed)

    for _ in range(STEPS):
        world.step()
        world.check()
    world.desk.router.stop()
    world.listen()
    world.desk.router.give_up()
    world.listen()

    answered = {msg_id: len(replies) for msg_id, replies in world.replies.items() if msg_id not in world.gone}
    assert answered == {msg_id: 1 for msg_id in world.asked if msg_id not in world.gone}
    assert (len(world.desk.router.pending), world.desk.router.pending.bytes) == (0, 0)
    refused = {one for one, replies in world.replies.items() if any(w == Code.UNAVAILABLE for _, w in replies)}
    assert not {world.keys[one] for one in refused if world.keys.get(one)} & set(world.log)
    for name in set(world.asked.values()):
        places = [world.log.index(key) for key in _keys_of(world, name)]
        assert places == sorted(places)
    assert len(world.log) > 50


def _keys_of(world: World, name: SessionName) -> list[str]:
    """Return the keys of a session's commands that are in the log, in the order in which they were sent."""
    keys = [world.keys.get(one) for one, asker in world.asked.items() if asker == name]
    return [key for key in keys if key in world.log and key is not None]
