"""The kinds of frames, and their limits. docs/protocol.md describes them."""

from typing import TypeAlias

Frames: TypeAlias = list[bytes]

# Between a client and the gateway.
SEND = b"send"  # envelopes {"src", "dest", "body"}, and if wanted "timeout_ms", "after"
REPLY = b"reply"  # envelopes {"src", "dest", "position", "body"}
# Between the gateway and a worker (a bus, or the projector).
READY = b"ready"  # worker: one Greeting, which begins a registration
BEAT = b"beat"  # worker: one Beat; gateway: nothing
WORK = b"work"  # gateway: Work items
DONE = b"done"  # worker: Done items
RETURNED = b"returned"  # worker: numbers of sendings that it has not begun, or was told to stop
CANCEL = b"cancel"  # gateway: numbers of sendings whose answers are not wanted from this worker any more
LEAVING = b"leaving"  # worker: send no more work
BYE = b"bye"  # gateway: every answer has arrived
ANNOUNCE = b"announce"  # gateway: the number of a registration that it does not know; register again
REFUSED = b"refused"  # gateway: one sentence why this worker is turned away
# From the publishers.
EVENTS = b"events"  # commandbus: one Published
PROGRESS = b"progress"  # projector: one Progress

MESSAGE_BYTES_MAX = 1 << 20  # of one envelope, one event, one answer
BATCH_BYTES = 1 << 18  # a batch is closed at this size; one large item may pass it
FRAME_BYTES_MAX = BATCH_BYTES + 2 * MESSAGE_BYTES_MAX
BATCH_ITEMS_MAX = 10_000
