"""Kinds of frames, and their limits. docs/protocol.md describes them."""

from typing import TypeAlias

Frames: TypeAlias = list[bytes]

# Between a client and the gateway.
SEND = b"send"  # envelopes {"src", "dest", "body"}, optional "timeout_ms", "after"
REPLY = b"reply"  # envelopes {"src", "dest", "position", "body"}, optional "details"
# Between the gateway and a worker (a bus, or the projector).
READY = b"ready"  # worker: a Registration
BEAT = b"beat"  # worker: a Heartbeat; gateway: an empty frame
WORK = b"work"  # gateway: Work items
DONE = b"done"  # worker: Response items
RETURNED = b"returned"  # worker: numbers of sendings that were not started, or were cancelled
CANCEL = b"cancel"  # gateway: numbers of sendings that this worker must not answer any more
LEAVING = b"leaving"  # worker: send no more work
BYE = b"bye"  # gateway: every answer has arrived
ANNOUNCE = b"announce"  # gateway: the number of an unknown registration; the worker registers again
REFUSED = b"refused"  # gateway: a sentence, the reason why this worker is rejected
# From publishers.
EVENTS = b"events"  # commandbus: a Published
PROGRESS = b"progress"  # projector: a Progress

MESSAGE_BYTES_MAX = 1 << 20  # of an envelope, an event or an answer
BATCH_BYTES = 1 << 18  # a batch is closed at this size; a single large item may exceed the size
FRAME_BYTES_MAX = BATCH_BYTES + 2 * MESSAGE_BYTES_MAX
BATCH_ITEMS_MAX = 10_000
