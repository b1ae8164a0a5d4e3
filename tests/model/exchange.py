"""The exchange between gateway and commandbus, as a model small enough to explore every interleaving.

The model has one gateway, one commandbus at a time, the connection between the two, the log, and clients that send
one or two commands and may send each again under its key. Every step of a State may happen at any time. Stops, kills,
restarts, lost connections, resends and beats are bounded in number, so that the states are finite. `explore` visits
all states, breadth first, and returns the shortest trace to a broken promise if a promise can be broken.

The model has no clock: a deadline passes at any time, and commandbus may judge any command expired or not, rightly or
wrongly. Credit, the order of the gateway's queue and an orderly stop are left out: none of them decides whether an
answer is true. The messages of a connection that was lost are read before, after or between those of the connection
that replaced it, or never. Commandbus reads messages also between a decision and its commit.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True)
class Rules:
    """The rules of the exchange. The defaults are those of dualbus; a test breaks them one at a time."""

    match: str = "sending"  # an answer belongs to one "sending" of a request, or to the "request", whichever sending
    discard_queued: bool = True  # commandbus registers again: the commands it has queued and not begun are discarded
    discard_late: bool = True  # work that arrives under an earlier registration is discarded
    lookup_first: bool = True  # commandbus refuses an expired command only if its key is not in the log
    sent_is_unknown: bool = True  # the deadline of a request that was sent passes: the outcome is not known
    failed_commit_is_unknown: bool = True  # a commit fails: the outcome is not known

    @property
    def registrations(self) -> bool:
        """Tell whether a message carries the registration it was sent under."""
        return self.discard_queued or self.discard_late


class Bounds(NamedTuple):
    """How often each event may still happen."""

    stops: int = 0  # of commandbus: SIGSTOP, or a commit or a decision that lasts
    ends: int = 0  # of commandbus: SIGKILL, or a commit that fails
    restarts: int = 0  # of the gateway
    losses: int = 0  # of the connection
    resends: int = 0  # by clients, under the same key
    beats: int = 0  # of commandbus, while the gateway does not know its registration


class Sending(NamedTuple):
    """One sending of a request. The sending that was decided stands for the outcome in the log."""

    attempt: int
    number: int

    def __str__(self) -> str:
        return f"request {self.attempt + 1}, sending {self.number}"


OPEN, DEFINITE, UNKNOWN = "open", "definite", "unknown"
RUNNING, STOPPED, ENDED = "running", "stopped", "ended"
BEAT, READY, DONE, WORK, ANNOUNCE = "BEAT", "READY", "DONE", "WORK", "ANNOUNCE"

Answer: TypeAlias = "str | Sending"  # OPEN, DEFINITE, UNKNOWN, or acknowledged with that outcome
Response: TypeAlias = tuple[Sending, Answer]


class Message(NamedTuple):
    """A message between gateway and commandbus. An ANNOUNCE names the registration that the gateway does not know."""

    kind: str
    registration: int
    sending: Sending | None = None
    answer: Answer = OPEN


Pipes: TypeAlias = tuple[tuple[Message, ...], ...]  # by connection; the last connection is the one that stands


class Hand(NamedTuple):
    """The decisions that commandbus has not committed, and the answers that wait for the commit."""

    decided: tuple[Sending, ...]
    answers: tuple[Response, ...]


class State(NamedTuple):
    """The state of all actors. Each attempt of a client is a request of its own at the gateway."""

    left: Bounds
    keys: tuple[int, ...]  # by attempt
    answers: tuple[Answer, ...]  # by attempt: the answer that its client has
    log: tuple[Sending, ...] = ()
    # The gateway.
    queue: tuple[int, ...] = ()  # attempts
    sent: tuple[int, ...] = ()  # by attempt: how many sendings
    in_flight: tuple[Sending, ...] = ()
    worker: tuple[int, int] | None = (0, 1)  # connection and registration of the commandbus that the gateway knows
    # The connections.
    to_bus: Pipes = ((),)
    to_gateway: Pipes = ((),)
    # Commandbus.
    bus: str = RUNNING
    registration: int = 1
    jobs: tuple[Message, ...] = ()
    hand: Hand | None = None
    unsent: tuple[Response, ...] = ()

    @property
    def connection(self) -> int:
        """The connection that stands."""
        return len(self.to_bus) - 1


class Step(NamedTuple):
    """An event in a word, in a sentence, and the state after it."""

    event: str
    text: str
    state: State


@dataclass
class Explored:
    """The result of an exploration."""

    states: int = 0
    events: Counter[str] = field(default_factory=Counter)
    broken: str = ""  # the promise, and the shortest trace that breaks it


def begin(commands: int, bounds: Bounds) -> State:
    """Return the state in which commands have arrived at a gateway that knows commandbus."""
    each = tuple(range(commands))
    return State(bounds, each, (OPEN,) * commands, queue=each, sent=(0,) * commands)


def explore(rules: Rules, start: State) -> Explored:
    """Visit every state that the rules allow, until a promise is broken or no state is left."""
    found = Explored()
    came_from: dict[State, State | None] = {start: None}
    layer = [start]
    while layer and not found.broken:
        reached: list[State] = []
        for state in layer:
            for event, _, after in steps(rules, state):
                found.events[event] += 1
                if after not in came_from:
                    came_from[after] = state
                    reached.append(after)
        for state in reached:
            if promise := broken(state):
                found.broken = "\n".join([promise, *_trace(rules, state, came_from)])
                break
        layer = reached
    found.states = len(came_from)
    return found


def _trace(rules: Rules, state: State, came_from: dict[State, State | None]) -> list[str]:
    texts: list[str] = []
    while (before := came_from[state]) is not None:
        texts.append(next(step.text for step in steps(rules, before) if step.state == state))
        state = before
    return [f"  {number}. {text}" for number, text in enumerate(reversed(texts), 1)]


def broken(state: State) -> str:
    """Return the promise that a state breaks, or nothing.

    The check of definite refusals is stricter than a judge outside can be: a refused attempt never enters the log,
    whatever becomes of other attempts under its key. So a key that was refused at every attempt is not in the log.
    """
    for attempt, answer in enumerate(state.answers):
        if answer == DEFINITE and any(one.attempt == attempt for one in state.log):
            return f"Request {attempt + 1} was definitely refused, and is in the log:"
        if not isinstance(answer, Sending):
            continue
        if answer not in state.log:
            return f"Request {attempt + 1} was acknowledged, and is not in the log:"
        if state.keys[answer.attempt] != state.keys[attempt]:
            return f"Request {attempt + 1} was acknowledged with the outcome of another key:"
    if len({state.keys[one.attempt] for one in state.log}) < len(state.log):
        return "A key is in the log twice:"
    return ""  # a key that is in the log once, and acknowledged as it is there, has the same outcome in every answer


def steps(rules: Rules, state: State) -> Iterator[Step]:
    """Yield every step that can happen next."""
    for event, text, after in _steps(rules, state):
        yield Step(event, text, _without_dead(after))


def _steps(rules: Rules, state: State) -> Iterator[Step]:
    yield from _of_clients(state)
    yield from _of_gateway(rules, state)
    yield from _of_faults(state)
    if state.bus == RUNNING:
        yield from _of_bus(rules, state)


def _without_dead(state: State) -> State:
    """Remove what a lost connection has for the gateway and the gateway would drop whenever it is read.

    States that differ only in such messages are one.
    """
    if len(state.to_gateway) == 1:
        return state
    pipes = list(state.to_gateway)
    for connection in range(state.connection):
        if state.worker is None or state.worker[0] != connection:
            while pipes[connection] and pipes[connection][0].kind != READY:
                pipes[connection] = pipes[connection][1:]
    return state._replace(to_gateway=tuple(pipes))


# Clients.


def _of_clients(state: State) -> Iterator[Step]:
    for key in set(state.keys) if state.left.resends else ():
        last = max(attempt for attempt, of in enumerate(state.keys) if of == key)
        if state.answers[last] != OPEN:
            attempt = len(state.keys)
            text = f"The client sends the key of request {last + 1} again, in request {attempt + 1}."
            again = state._replace(
                left=state.left._replace(resends=state.left.resends - 1),
                keys=(*state.keys, key),
                answers=(*state.answers, OPEN),
                queue=(*state.queue, attempt),
                sent=(*state.sent, 0),
            )
            yield Step("sent again by the client", text, again)


def _answer(state: State, attempt: int, answer: Answer) -> State:
    """The gateway answers a request, once: further answers to it are late."""
    return state._replace(
        answers=(*state.answers[:attempt], answer, *state.answers[attempt + 1 :]),
        queue=tuple(one for one in state.queue if one != attempt),
        in_flight=tuple(one for one in state.in_flight if one.attempt != attempt),
    )


# The gateway.


def _of_gateway(rules: Rules, state: State) -> Iterator[Step]:
    for attempt, answer in enumerate(state.answers):
        if answer == OPEN:
            passed = UNKNOWN if state.sent[attempt] and rules.sent_is_unknown else DEFINITE
            text = f"The deadline of request {attempt + 1} passes, and the gateway answers: {passed}."
            yield Step(f"deadline: {passed}", text, _answer(state, attempt, passed))
    if state.worker and state.worker[0] == state.connection and state.bus != ENDED:
        for attempt in state.queue:
            sending = Sending(attempt, state.sent[attempt] + 1)
            text = f"The gateway sends {sending}, under registration {state.worker[1]}."
            yield Step("sent" if sending.number == 1 else "sent again", text, _send(state, sending, state.worker))
    if state.worker and (state.bus != RUNNING or state.worker[0] != state.connection):
        text = f"The gateway loses commandbus, with {len(state.in_flight)} in flight."
        yield Step("worker lost", text, _lose(state))
    for connection, pipe in enumerate(state.to_gateway):
        if pipe:
            yield _hear(rules, state._replace(to_gateway=_tail(state.to_gateway, connection)), connection, pipe[0])


def _send(state: State, sending: Sending, worker: tuple[int, int]) -> State:
    attempt, number = sending
    return state._replace(
        queue=tuple(one for one in state.queue if one != attempt),
        sent=(*state.sent[:attempt], number, *state.sent[attempt + 1 :]),
        in_flight=tuple(sorted((*state.in_flight, sending))),
        to_bus=_put(state.to_bus, worker[0], Message(WORK, worker[1], sending)),
    )


def _lose(state: State) -> State:
    """The gateway queues again the requests that the lost worker had in flight."""
    queue = sorted((*state.queue, *(one.attempt for one in state.in_flight)))
    return state._replace(worker=None, in_flight=(), queue=tuple(queue))


def _hear(rules: Rules, state: State, connection: int, message: Message) -> Step:
    """The gateway reads a message, which is out of its pipe already."""
    if message.kind == READY:
        return _register(rules, state, connection, message.registration)
    if state.worker is None or state.worker[0] != connection:
        if connection == state.connection and state.bus != ENDED:
            state = state._replace(to_bus=_put(state.to_bus, connection, Message(ANNOUNCE, message.registration)))
        text = f"The gateway reads a {message.kind} of a worker that it does not know, and answers ANNOUNCE."
        return Step("dropped: unknown worker", text, state)
    sending, answer = message.sending, message.answer
    if sending is None:
        return Step("beat", "The gateway reads a BEAT.", state)
    of_request = [one for one in state.in_flight if one.attempt == sending.attempt]
    if not of_request or (rules.match == "sending" and sending not in of_request):
        return Step("dropped: late", f"The gateway drops the answer to {sending}: it is late.", state)
    event, shown = "answered: " + (answer if isinstance(answer, str) else "acknowledged"), answer
    if isinstance(answer, Sending):
        shown = "acknowledged"
        before = {one for of, one in zip(state.keys, state.answers, strict=True) if of == state.keys[sending.attempt]}
        event += " again" if answer in before else ""
    text = f"The gateway reads the answer to {sending}: {shown}"
    text += "." if sending in of_request else f"; the gateway takes it for the answer to {of_request[0]}."
    return Step(event, text, _answer(state, sending.attempt, answer))


def _register(rules: Rules, state: State, connection: int, registration: int) -> Step:
    known = state.worker is not None and state.worker[0] == connection
    if known and (not rules.registrations or state.worker == (connection, registration)):
        return Step("registered twice", "The gateway reads the READY of a worker that it knows.", state)
    text = f"The gateway reads READY: registration {registration}."
    return Step("registered", text, _lose(state)._replace(worker=(connection, registration)))


# Commandbus.


def _of_bus(rules: Rules, state: State) -> Iterator[Step]:
    for connection, pipe in enumerate(state.to_bus):
        if pipe:
            yield _receive(rules, state._replace(to_bus=_tail(state.to_bus, connection)), pipe[0])
    if state.jobs and state.hand is None:
        yield from _drain(rules, state)
    if state.hand:
        yield from _commit(rules, state, state.hand)
    if state.unsent:
        yield Step("answers sent", "Commandbus sends its answers.", _flush(state))
    beating = any(message.kind == BEAT for pipe in state.to_gateway for message in pipe)
    if state.left.beats and not beating and state.worker != (state.connection, state.registration):
        left = state.left._replace(beats=state.left.beats - 1)
        text = f"Commandbus sends BEAT, of registration {state.registration}."
        yield Step("beats", text, _report(state._replace(left=left), Message(BEAT, state.registration)))


def _receive(rules: Rules, state: State, message: Message) -> Step:
    """Commandbus reads a message, which is out of its pipe already."""
    current = message.registration == state.registration
    if message.kind == WORK:
        if rules.discard_late and not current:
            text = f"Commandbus discards {message.sending}: it was sent under registration {message.registration}."
            return Step("discarded: late", text, state)
        return Step("received", f"Commandbus queues {message.sending}.", state._replace(jobs=(*state.jobs, message)))
    if rules.registrations and not current:
        return Step("announce ignored", "Commandbus has registered since, and ignores an ANNOUNCE.", state)
    registration = state.registration + 1
    text = f"Commandbus reads ANNOUNCE, and sends READY: registration {registration}"
    event = "registers again"
    if rules.discard_queued and state.jobs:
        text += f"; it discards {', '.join(str(job.sending) for job in state.jobs)}"
        event, state = "discarded: queued", state._replace(jobs=())
    return Step(event, f"{text}.", _report(state._replace(registration=registration), Message(READY, registration)))


def _drain(rules: Rules, state: State) -> Iterator[Step]:
    """Commandbus works on one or more queued commands in one commit, and judges each to be expired or not."""
    for count in range(1, len(state.jobs) + 1):
        sendings = [job.sending for job in state.jobs[:count] if job.sending]
        for expired in product((False, True), repeat=count):
            hand, text = _decide(rules, state, list(zip(sendings, expired, strict=True)))
            event = "answered from the log" if "as in the log" in text else "drained"
            yield Step(event, f"Commandbus drains: {text}.", state._replace(jobs=state.jobs[count:], hand=hand))


def _decide(rules: Rules, state: State, jobs: list[tuple[Sending, bool]]) -> tuple[Hand, str]:
    """Commandbus reads the log for all keys first; then it refuses the expired commands, and decides the others."""
    known = {state.keys[one.attempt]: one for one in state.log}
    decided: dict[int, Sending] = {}
    answers: list[Response] = []
    texts: list[str] = []
    for sending, expired in jobs:
        key = state.keys[sending.attempt]
        if expired and not (rules.lookup_first and key in known):
            answers.append((sending, DEFINITE))
            texts.append(f"{sending}, has expired and is refused")
            continue
        outcome = known.get(key) or decided.setdefault(key, sending)
        answers.append((sending, outcome))
        texts.append(f"{sending}, is " + ("answered as in the log" if key in known else "decided"))
    return Hand(tuple(decided.values()), tuple(answers)), "; ".join(texts)


def _commit(rules: Rules, state: State, hand: Hand) -> Iterator[Step]:
    """The commit succeeds; or the commit fails, is in the log or not, and the process ends once it has answered."""
    done = state._replace(hand=None, log=state.log + hand.decided, unsent=state.unsent + hand.answers)
    yield Step("committed", "Commandbus commits." if hand.decided else "There is nothing to commit.", done)
    if not (hand.decided and state.left.ends):
        return
    failed = UNKNOWN if rules.failed_commit_is_unknown else DEFINITE
    answers = tuple((one, failed if isinstance(answer, Sending) else answer) for one, answer in hand.answers)
    for written, place in (((), "is not"), (hand.decided, "is")):
        ended = _end(_flush(state._replace(unsent=state.unsent + answers, log=state.log + written)))
        text = f"The commit fails and {place} in the log; commandbus answers {failed} and ends."
        yield Step("commit failed", text, ended)


def _report(state: State, *messages: Message) -> State:
    return state._replace(to_gateway=_put(state.to_gateway, state.connection, *messages))


def _flush(state: State) -> State:
    done = [Message(DONE, state.registration, sending, answer) for sending, answer in state.unsent]
    return _report(state._replace(unsent=()), *done)


# Faults.


def _of_faults(state: State) -> Iterator[Step]:
    left = state.left
    if state.bus == RUNNING and left.stops:
        stopped = state._replace(bus=STOPPED, left=left._replace(stops=left.stops - 1))
        yield Step("stopped", "Commandbus is stopped.", stopped)
    if state.bus == STOPPED:
        yield Step("continued", "Commandbus is continued.", state._replace(bus=RUNNING))
    if state.bus == ENDED:
        started = _connect(state._replace(bus=RUNNING, registration=state.registration + 1))
        text = f"Commandbus starts, and sends READY: registration {started.registration}."
        yield Step("started", text, _report(started, Message(READY, started.registration)))
    elif left.ends:
        yield Step("killed", "Commandbus is killed.", _end(state))
    if left.losses and state.bus != ENDED:
        lost = _connect(state._replace(left=left._replace(losses=left.losses - 1)))
        yield Step("connection lost", "The connection is lost; another replaces it.", lost)
    if left.restarts:
        yield Step("gateway restarted", "The gateway is killed and started again.", _restart_gateway(state))


def _end(state: State) -> State:
    """Commandbus ends, and all that it has not sent is gone."""
    left = state.left._replace(ends=state.left.ends - 1)
    gone: Pipes = ((),) * len(state.to_bus)
    return state._replace(left=left, bus=ENDED, jobs=(), hand=None, unsent=(), to_bus=gone)


def _restart_gateway(state: State) -> State:
    """A new gateway knows nothing. Clients lost their connections: the outcome of every open request is not known."""
    fresh = state if state.bus == ENDED else _connect(state)
    return fresh._replace(
        left=state.left._replace(restarts=state.left.restarts - 1),
        answers=tuple(UNKNOWN if answer == OPEN else answer for answer in state.answers),
        queue=(),
        in_flight=(),
        worker=None,
        to_gateway=((),) * len(fresh.to_gateway),
    )


def _connect(state: State) -> State:
    return state._replace(to_bus=(*state.to_bus, ()), to_gateway=(*state.to_gateway, ()))


def _put(pipes: Pipes, connection: int, *messages: Message) -> Pipes:
    return (*pipes[:connection], pipes[connection] + messages, *pipes[connection + 1 :])


def _tail(pipes: Pipes, connection: int) -> Pipes:
    return (*pipes[:connection], pipes[connection][1:], *pipes[connection + 1 :])
