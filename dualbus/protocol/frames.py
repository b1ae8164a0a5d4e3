"""Kinds of messages, and their limits. docs/protocol.md describes them."""

from typing import TypeAlias

Frames: TypeAlias = list[bytes]  # of a message: its content, after the address if a ROUTER sends or receives it

# Between a client and the gateway.
SEND = "send"  # envelopes {"src", "dest", "body"}, optional "timeout_ms", "after"
REPLY = "reply"  # envelopes {"src", "dest", "position", "body"}, optional "details"
# Between the gateway and a worker (a bus, or the projector).
READY = "ready"  # worker: a Registration
BEAT = "beat"  # worker: a Heartbeat; gateway: nothing
WORK = "work"  # gateway: Work items
DONE = "done"  # worker: Response items, and from commandbus the times of their commit
RETURNED = "returned"  # worker: numbers of sendings that were not started, or were cancelled
CANCEL = "cancel"  # gateway: numbers of sendings that this worker must not answer any more
LEAVING = "leaving"  # worker: send no more work
BYE = "bye"  # gateway: every answer has arrived
ANNOUNCE = "announce"  # gateway: the number of an unknown registration; the worker registers again
REFUSED = "refused"  # gateway: a sentence, the reason why this worker is rejected
# From publishers.
EVENTS = "events"  # commandbus: a Published
PROGRESS = "progress"  # projector: a Progress

MESSAGE_BYTES_MAX = 1 << 20  # of an envelope, an event or an answer
BATCH_BYTES = 1 << 18  # a batch is closed at this size; a single large item may exceed the size
FRAME_BYTES_MAX = BATCH_BYTES + 2 * MESSAGE_BYTES_MAX
BATCH_ITEMS_MAX = 10_000
