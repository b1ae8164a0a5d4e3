"""The configuration of the NATS servers, read from their monitoring ports.

A client connection does not receive `sync_interval`. With the default, all servers can lose their power together and
then lose every commit since their start; so an unchecked server is refused.
"""

import json
import time
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from dualbus.log.commits import CommitLogUnreachable
from dualbus.log.nats.address import NatsAddress, is_loopback

SECONDS = 2.0
START_SECONDS = 10.0  # between the monitoring port and JetStream
PAUSE_SECONDS = 0.1
PAYLOAD_BYTES_MIN = 4 << 20

_direct = build_opener(ProxyHandler({}))  # http_proxy also applies to 127.0.0.1, which the proxy does not reach

Answers = dict[str, dict[str, Any] | None]  # by host


def server_errors(address: NatsAddress) -> list[str]:
    """Return a sentence for each problem of a server. A server that does not answer may be down.

    Raises CommitLogUnreachable if no server answers.
    """
    until = time.monotonic() + START_SECONDS
    answers = _answers(address)
    while not _complete(answers) and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)
        answers = _answers(address)
    if not any(answers.values()):
        raise CommitLogUnreachable(
            f"No NATS server answers on its monitoring port {address.monitor}, so that sync_interval cannot be "
            "checked: start the server, set http: 127.0.0.1:8222 in its configuration, and list 127.0.0.1 in "
            "DUALBUS_LOG."
        )
    return [text for host, found in answers.items() if found for text in _problems(host, found, address)]


def _complete(answers: Answers) -> bool:
    """Return whether a server answers, and each answer has the configuration of JetStream."""
    found = [answer for answer in answers.values() if answer]
    return bool(found) and all(map(_config, found))


def _answers(address: NatsAddress) -> Answers:
    return {host: _read(host, address.monitor) for host, _ in address.hosts}


def _config(found: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of JetStream; empty while a server starts."""
    config = (found.get("jetstream") or {}).get("config")
    return config if isinstance(config, dict) else {}


def _read(host: str, port: int) -> dict[str, Any] | None:
    try:
        with _direct.open(f"http://{host}:{port}/varz", timeout=SECONDS) as answer:
            found = json.load(answer)
    except (OSError, URLError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _problems(host: str, found: dict[str, Any], address: NatsAddress) -> list[str]:
    errors = []
    server = f"The NATS server at {host}"
    if not _config(found):
        errors.append(f"{server} has no JetStream: add a jetstream block to its configuration.")
    elif not _config(found).get("sync_always"):
        errors.append(
            f"{server} can lose acknowledged commits at a power cut: set sync_interval: always in its "
            "jetstream block."
        )
    if found.get("max_payload", 0) < PAYLOAD_BYTES_MIN:
        errors.append(f"{server} limits messages to {found.get('max_payload')} bytes: set max_payload: 8MB.")
    listens = str(found.get("host") or host)  # 0.0.0.0, also if DUALBUS_LOG has loopback addresses only
    if not (address.local and is_loopback(listens)) and not found.get("auth_required"):
        errors.append(
            f"{server} is reachable from other machines and accepts everybody: set authorization in its "
            "configuration, or listen: 127.0.0.1:4222 if all machines of the log are this machine."
        )
    return errors
