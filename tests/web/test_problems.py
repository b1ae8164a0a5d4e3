"""The problem for each error of a call."""

import pytest

from dualbus import (
    ClientClosed,
    DeadlineExceeded,
    DualbusError,
    Executed,
    HandlerError,
    KeyUsed,
    Rejected,
    Unavailable,
)
from dualbus.application.field_path import field_path
from web.problems import pointer, problem_of


@pytest.mark.parametrize(
    ("error", "status", "members"),
    [
        (Rejected("No"), 422, {"errors": [{"detail": "No", "code": "rejected"}]}),
        (Rejected("No", code="a", field="b"), 422, {"errors": [{"detail": "No", "pointer": "#/b", "code": "a"}]}),
        (Rejected("No", code="not_supported"), 404, {}),
        (Rejected("No", code="forbidden"), 403, {}),
        (Unavailable("No"), 503, {}),
        (ClientClosed("No"), 503, {}),
        (DeadlineExceeded("No"), 504, {"outcome": None}),
        (DeadlineExceeded("No", outcome_known=False, idempotency_key="k"), 504, {"outcome": "unknown"}),
        (HandlerError("No"), 500, {"outcome": None}),
        (HandlerError("No", outcome_known=False, idempotency_key="k"), 504, {"idempotency_key": "k"}),
        (KeyUsed("No"), 409, {"outcome": None}),
        (Executed("No", position=7, idempotency_key="k"), 409, {"outcome": "executed", "position": 7}),
    ],
)
def test_an_error_has_a_status_and_the_members_for_programs(
    error: DualbusError, status: int, members: dict[str, object]
) -> None:
    problem = problem_of(error)

    assert (problem.status, problem.body["status"]) == (status, status)
    assert problem.body["detail"].startswith(("No", "The web process stopped"))
    assert {name: problem.body.get(name) for name in members} == members
    assert ("retry-after" in problem.headers) == (status == 503)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("email", "#/email"),
        ("address.zip", "#/address/zip"),
        ("lines[0].amount", "#/lines/0/amount"),
        ("[1]", "#/1"),
        ("x z/ä", "#/x%20z~1%C3%A4"),
        ('prices["a.b"].amount', "#/prices/a.b/amount"),
        (field_path(('"]\\\n', 2, "")), "#/%22%5D%5C%0A/2/"),
        ('a["', "#/a"),
    ],
)
def test_the_path_of_a_field_is_a_json_pointer(path: str, found: str) -> None:
    assert pointer(path) == found
