"""Errors that NATS answers to a publication: only an error that no server can contradict later is definite."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from dualbus.log.commits import OutcomeUnknown
from dualbus.log.contract import LogUnavailable
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.sqlite.shared import SharedLog
from dualbus.testing import until
from dualbus.testing.log_contract import GENESIS, decided, event
from tests.machines.proxy import Proxy
from tests.machines.servers import Servers, needs_nats, running_servers

pytestmark = needs_nats
FULL = [
    (10023, "insufficient resources"),
    (10047, "insufficient storage resources available"),
    (10077, "no space left on device"),
]


def refusal(number: int, text: str) -> bytes:
    return b'{"error":{"code":503,"err_code":%d,"description":"%s"}}' % (number, text.encode())


@pytest.fixture
def proxy(one_server: Servers) -> Iterator[Proxy]:
    with Proxy(one_server.port, lambda payload: False) as found:
        yield found


@pytest.fixture
def log(one_server: Servers, proxy: Proxy) -> Iterator[NatsCommitLog]:
    direct = one_server.new_url()
    NatsCommitLog(read_address(direct), create=True).close()
    address = read_address(direct.replace(f":{one_server.port}/", f":{proxy.port}/"))
    with closing(NatsCommitLog(address, create=False)) as found:
        yield found


@pytest.mark.parametrize(("number", "text"), FULL)
def test_a_commit_that_the_leader_refuses_and_the_others_store_is_stored(
    log: NatsCommitLog, proxy: Proxy, number: int, text: str
) -> None:
    proxy.answers = [refusal(number, text)]  # the server has stored the body

    assert log.put(1, b"first", 20)
    assert proxy.answers == []
    assert log.resolved == 1
    assert log.put(2, b"second", 20)
    assert log.get(0, 10) == [b"first", b"second"]


@pytest.mark.parametrize(("number", "text"), FULL)
def test_a_refusal_that_others_may_contradict_leaves_the_outcome_open_until_another_commit_has_the_number(
    log: NatsCommitLog, proxy: Proxy, number: int, text: str
) -> None:
    proxy.answers = [refusal(number, text)] * 1000
    with pytest.raises(OutcomeUnknown, match=f"A NATS server refuses commit 1 .{text}., and the others may store it"):
        log.put(1, b"first", 0.5)
    proxy.answers = []

    until(lambda: log.tail() == 1)
    assert not log.put(1, b"claim", 20)
    assert log.get(0, 10) == [b"first"]


STRANGE = [b"{", b"[]", b"null", b"\xff", b'{"error":null}', b'{"error":{"err_code":"x"}}', b"{}"]


def test_a_strange_answer_to_a_commit_leaves_the_outcome_open(
    log: NatsCommitLog, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.answers = list(STRANGE)

    assert log.put(1, b"first", 20)
    assert proxy.answers == []
    assert log.resolved == 1
    assert caplog.text.count("NATS has given a strange answer: ") == len(STRANGE)


@pytest.mark.parametrize("answer", STRANGE)
def test_a_strange_description_of_the_stream_is_no_answer(
    log: NatsCommitLog, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    async def request(subject: str, payload: bytes, timeout: float) -> Msg:
        return Msg(None, data=answer)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(log._client, "request", request)
        assert log.tail() is None
    assert log.tail() == 0


def test_a_stream_at_its_limit_refuses_definitely_and_at_once(log: NatsCommitLog, proxy: Proxy) -> None:
    proxy.answers = [refusal(10077, "maximum bytes exceeded")]
    with pytest.raises(LogUnavailable, match=r"cannot be written now .maximum bytes exceeded.: raise max_bytes"):
        log.put(1, b"first", 20)


def test_after_a_reconnection_to_a_server_with_a_smaller_limit_commits_are_split_or_refused_at_once(
    folder: Path,
) -> None:
    decisions = [decided(f"c{number}", event("a", data="x" * 200_000)) for number in range(10)]
    with running_servers(folder, 1) as servers:
        commits = NatsCommitLog(read_address(servers.url()), create=True)
        with closing(SharedLog(folder / "one", commits, lambda secret: GENESIS, "one")) as log:
            before = commits.body_bytes_max
            [server] = servers.servers
            server.kill()
            server.config["max_payload"] = "1MB"
            server.start()
            servers.wait()

            until(lambda: commits.body_bytes_max < before)
            assert 0 < log.append(decisions).decisions < 10
            with pytest.raises(LogUnavailable, match="Commit 3 has 1048576 bytes, and the NATS server accepts"):
                commits.put(3, bytes(1 << 20), 20)
            assert log.append(decisions[-1:]).decisions == 1
