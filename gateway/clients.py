"""Clients: the requests and the outbox of each connection."""

from collections import OrderedDict, deque
from itertools import islice

from dualbus.protocol.batches import first_part
from dualbus.protocol.frames import BATCH_BYTES, BATCH_ITEMS_MAX

from .access import CLUSTER, STRANGER, Holder, HolderOf
from .sessions import Sessions, Totals

REPLIES_MAX, REPLY_BYTES_MAX = 20_000, 8 << 20  # in one outbox
ALL_REPLY_BYTES_MAX = 256 << 20
CLIENTS_MAX = 10_000
STALLED_SECONDS, STALLED_SECONDS_MAX = 0.02, 1.0  # from an attempt to send to a full socket to the next attempt

CONSOLE = b""  # the id of the gateway's own standard input; a ROUTER socket never assigns an empty id


class Usage:
    """The pending requests of a connection, or of all connections with the key of a named client."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0


class Client:
    """A connection."""

    __slots__ = (
        "_totals", "holder", "id", "outbox", "outbox_bytes", "quiet", "requests", "sessions",
        "stalled_seconds", "stalled_until", "usage",
    )  # fmt: skip

    def __init__(self, id_: bytes, holder: Holder, floor: int, totals: Totals, usage: Usage) -> None:
        self.id = id_
        self.holder = holder
        self._totals = totals
        self.sessions = Sessions(floor, totals)
        self.requests = 0  # not answered yet
        self.usage = usage
        self.outbox: deque[bytes] = deque()  # packed replies
        self.outbox_bytes = 0
        self.stalled_until = 0.0  # zero if the socket accepted all replies
        self.stalled_seconds = 0.0  # between the last two attempts, zero after a success
        self.quiet = False  # no reply was enqueued since the last probe

    def enqueue_reply(self, reply: bytes) -> int:
        """Append a reply to the outbox; return the number of oldest replies dropped because the outbox is full."""
        self.quiet = False
        self.outbox.append(reply)
        self.outbox_bytes += len(reply)
        self._totals.reply_bytes += len(reply)
        return self._drop_oldest()

    def next_part(self) -> list[bytes]:
        """Return the oldest replies, as many as fit into one message, without removing them."""
        if len(self.outbox) <= BATCH_ITEMS_MAX and self.outbox_bytes <= BATCH_BYTES:
            return list(self.outbox)  # the usual case
        return first_part(self.outbox)  # an attempt with a full socket has the cost of one message

    def sent(self, count: int) -> None:
        """Remove the oldest replies, which the socket has accepted."""
        for _ in range(count):
            self.pop_reply()
        self.stalled_seconds = 0.0

    def stall(self, now: float) -> int:
        """Wait longer after each attempt, as the socket is full; return the number of oldest replies dropped."""
        self.stalled_seconds = min(STALLED_SECONDS_MAX, 2 * self.stalled_seconds or STALLED_SECONDS)
        self.stalled_until = now + self.stalled_seconds
        return self._drop_oldest()

    def _drop_oldest(self) -> int:
        """Keep the bounds. Without a full socket, this turn sends the replies: they need no room beside others."""
        dropped = 0
        if self.id == CONSOLE:
            return dropped  # the console stops reading input while its outbox is full
        while self.outbox and (
            len(self.outbox) > REPLIES_MAX
            or self.outbox_bytes > REPLY_BYTES_MAX
            or (self.stalled_until and self.outbox_bytes + self._totals.reply_bytes > ALL_REPLY_BYTES_MAX)
        ):
            self.pop_reply()
            dropped += 1
        return dropped

    def pop_reply(self) -> bytes:
        """Remove and return the oldest reply of the outbox."""
        reply = self.outbox.popleft()
        self.outbox_bytes -= len(reply)
        self._totals.reply_bytes -= len(reply)
        return reply

    def close(self) -> None:
        """Release the outbox and the sessions of a closed connection."""
        self._totals.reply_bytes -= self.outbox_bytes
        self.outbox.clear()
        self.outbox_bytes = 0
        self.sessions.close()


class Clients:
    """All clients, least recently used first, and the floor: the lowest position of a new client's sessions."""

    def __init__(self, holder_of: HolderOf) -> None:
        self.floor = 0
        self._holder_of = holder_of
        self._totals = Totals()
        self._by_id: OrderedDict[bytes, Client] = OrderedDict()
        self._usages: dict[str, Usage] = {}  # by the name of a key, so that further connections bring no room
        self.with_unsent_replies: dict[bytes, Client] = {}

    def of(self, id_: bytes) -> Client:
        """Return the client of a connection."""
        client = self._by_id.get(id_)
        if client is None:
            self._evict_idle()
            holder = CLUSTER if id_ == CONSOLE else self._holder_of(id_)
            usage = self._usages.setdefault(holder.actor, Usage()) if holder.actor else Usage()
            client = self._by_id[id_] = Client(id_, holder, self.floor, self._totals, usage)
        else:
            self._by_id.move_to_end(id_)
        return client

    def __len__(self) -> int:
        return len(self._by_id)

    def update_holders(self) -> list[Client]:
        """Look up all holders again, after a change of keys; return the clients whose key was removed."""
        removed = []
        for client in self._by_id.values():
            if client.id != CONSOLE:
                client.holder = self._holder_of(client.id)
                removed += [client] if client.holder is STRANGER else []
        return removed

    def to_probe(self) -> list[Client]:
        """Return the clients with unanswered requests that were sent no reply since the previous call."""
        waiting = [client for client in self._by_id.values() if client.requests and client.id != CONSOLE]
        quiet = [client for client in waiting if client.quiet]
        for client in waiting:
            client.quiet = True
        return quiet

    def forget(self, client: Client) -> None:
        """Remove a client, and raise the floor to its highest position."""
        self.floor = max(self.floor, client.sessions.highest())
        client.close()
        self._by_id.pop(client.id, None)
        self.with_unsent_replies.pop(client.id, None)

    def raise_floor(self, position: int) -> None:
        """Raise the position at which sessions of new clients start."""
        self.floor = max(self.floor, position)

    def reset(self, position: int) -> None:
        """Replace all positions, which belonged to another log."""
        self.floor = position
        for client in self._by_id.values():
            client.sessions.reset(position)

    def _evict_idle(self) -> None:
        """Above the limit, forget idle clients among the two least recently used; checking two bounds the cost."""
        for client in list(islice(self._by_id.values(), 2)) if len(self._by_id) >= CLIENTS_MAX else ():
            if client.requests or client.outbox or client.id == CONSOLE:
                self._by_id.move_to_end(client.id)
            else:
                self.forget(client)
