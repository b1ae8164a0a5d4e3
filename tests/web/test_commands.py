"""POST /commands/{type}: results, keys and problems."""

from typing import Any

import httpx

ADA = {"name": "Ada", "email": "ada@example.org"}


def post(browser: httpx.Client, path: str = "/commands/CreateUser", body: Any = None, **more: Any) -> httpx.Response:
    return browser.post(path, json=ADA if body is None else body, **more)


def test_a_command_returns_its_public_events_and_the_position(browser: httpx.Client) -> None:
    answer = post(browser)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    [event] = answer.json()["events"]
    assert event == {"type": "UserCreated", "payload": {"id": event["payload"]["id"], "name": "Ada"}}
    assert answer.headers["dualbus-position"] == str(answer.json()["position"])
