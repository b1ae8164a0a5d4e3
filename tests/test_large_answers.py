"""Answers that come faster than anybody reads them."""

import json
import subprocess
import sys

from dualbus.testing import Cluster, until
from tests.raw import STATUS, RawClient, create, query

USERS, NAME_CHARS = 90, 10_000  # an answer with all of them is just under a megabyte
QUERIES = 20


def test_a_slow_reader_of_standard_output_gets_every_answer_however_large(cluster: Cluster) -> None:
    # Given more answers than the gateway would keep for a client of the network
    cluster.start()
    with RawClient(cluster.addresses["front"]) as client:
        client.ask(*[create("n" * NAME_CHARS) for _ in range(USERS)])
        cluster.stop("gateway")
    asked = [query("ListUsers", number, limit=1000) for number in range(QUERIES)]
    with subprocess.Popen(
        [sys.executable, "-m", "dualbus.gateway"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=cluster.environ,
        cwd=cluster.cwd,
    ) as gateway:
        assert gateway.stdin and gateway.stdout

        # When nobody reads until all of them are answered
        gateway.stdin.write("\n".join(map(json.dumps, asked)).encode())
        gateway.stdin.close()
        with RawClient(cluster.addresses["front"]) as client:
            until(lambda: client.ask(STATUS)[0]["data"]["gateway"]["answered"] >= QUERIES)

            # Then every one of them is there
            replies = [json.loads(line) for line in gateway.stdout]

        assert sorted(reply["in_reply_to"] for reply in replies) == list(range(QUERIES))
        assert {len(reply["data"]) for reply in replies} == {USERS + 1}
        assert gateway.wait() == 0
