"""The kinds of frames, and their limits. docs/protocol.md describes them."""

from typing import TypeAlias

Frames: TypeAlias = list[bytes]

# Between a client and the gateway.
SEND = b"send"  # envelopes {"src", "dest", "body"}, and if wanted "timeout_ms", "after"
REPLY = b"reply"  # envelopes {"src", "dest", "position", "body"}
# Between the gateway and a worker (a bus, or the projector).
READY = b"ready"  # worker: one Registration
BEAT = b"beat"  # worker: one Heartbeat; gateway: nothing
WORK = b"work"  # gateway: Work items
DONE = b"done"  # worker: Done items
RETURNED = b"returned"  # worker: sendings not started, or stopped on request
CANCEL = b"cancel"  # gateway: sendings whose answers this worker need not send
LEAVING = b"leaving"  # worker: send no more work
BYE = b"bye"  # gateway: every answer has arrived
ANNOUNCE = b"announce"  # gateway: the number of an unknown registration; register again
REFUSED = b"refused"  # gateway: the reason for refusing this worker, a sentence
# From the publishers.
EVENTS = b"events"  # commandbus: one Published
PROGRESS = b"progress"  # projector: one Progress

MESSAGE_BYTES_MAX = 1 << 20  # of one envelope, one event, one answer
BATCH_BYTES = 1 << 18  # of a batch, unless a single item is larger
FRAME_BYTES_MAX = BATCH_BYTES + 2 * MESSAGE_BYTES_MAX
BATCH_ITEMS_MAX = 10_000
