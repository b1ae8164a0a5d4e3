"""A client that sends what costs others most, and receives nothing."""

import random

from tests.faults import bad_frames
from tests.raw import RawClient, query

QUERIES = 1024
FAR_AWAY = 10**15  # a position that no log reaches
HOUR_MS = 3_600_000
GARBAGE = 50


class RudeClient(RawClient):
    """Sends queries for a position that never comes, with the longest deadline; then garbage. It never reads."""

    def __init__(self, address: str, chance: random.Random) -> None:
        super().__init__(address)
        asked = query("GetUser", src="hostile", user_id="user-123")
        self.send(*({**asked, "after": FAR_AWAY, "timeout_ms": HOUR_MS} for _ in range(QUERIES)))
        for _, frames in chance.sample(list(bad_frames.cases()), GARBAGE):
            self.send_frames(*frames)
