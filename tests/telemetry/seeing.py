"""Requests to the gateway itself, of a test."""

from typing import Any

from tests.raw import RawClient


def ask_gateway(client: RawClient, type_: str, **params: Any) -> Any:
    """Return the data that the gateway answers to a request of its own."""
    [body] = client.ask({"src": "t", "dest": "gateway", "body": {"type": type_, "params": params}})
    assert body["type"] == f"{type_.lower()}_result", body
    return body["data"]


def counted(client: RawClient) -> dict[tuple[str, str], dict[str, int]]:
    """Return the outcomes of all requests, by dest and type."""
    return {(one["dest"], one["type"]): one["outcomes"] for one in ask_gateway(client, "Status")["requests"]}


def process(client: RawClient, name: str) -> dict[str, Any]:
    """Return what Status shows of the only process of a name."""
    found = [one for one in ask_gateway(client, "Status")["processes"] if one["name"] == name]
    assert len(found) == 1
    return dict(found[0])
