"""A client that schemathesis generates from /openapi.json: every response is a response of the document."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from dualbus.testing import Cluster


@pytest.fixture(scope="module")
def app() -> str:
    return "users:app"


@pytest.fixture(scope="module")
def api(site: Cluster) -> schemathesis.BaseSchema:
    """The client."""
    return schemathesis.openapi.from_url(f"{site.http}/openapi.json", headers=site.http_headers)


AFTER = ("Dualbus-After", "Last-Event-ID")
NAMES = ("not_a_server_error", "content_type_conformance", "response_schema_conformance", "status_code_conformance")


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_response_is_one_of_the_document(
    site: Cluster, api: schemathesis.BaseSchema, mode: GenerationMode
) -> None:
    checks: Any = [schemathesis.checks.CHECKS.get_one(name) for name in NAMES]
    tried = 0
    for found in api.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=[*HealthCheck])
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            _answerable(case)
            case.call_and_validate(checks=checks, timeout=60, headers=site.http_headers)

        try:
            check()
        except Unsatisfiable:  # an operation without parameters has no negative data
            assert mode is GenerationMode.NEGATIVE
    assert tried > 100


def _answerable(case: Any) -> None:
    """Replace positions beyond the log, and deadlines before an answer: both are refused with 503."""
    for name in AFTER:
        if str((case.headers or {}).get(name, "")).isdecimal():
            case.headers[name] = "1"
    if str((case.query or {}).get("after", "")).isdecimal():
        case.query["after"] = 1
    if str((case.query or {}).get("timeout_ms", "")).isdecimal():
        case.query["timeout_ms"] = 60_000


def test_the_client_executes_a_command_and_a_query(site: Cluster, api: schemathesis.BaseSchema) -> None:
    create, get = api["/commands/CreateUser"]["POST"], api["/queries/GetUser"]["GET"]
    created = create.Case(body={"name": "Ada", "email": "ada@example.org"}, media_type="application/json").call(
        headers=site.http_headers
    )
    [event] = created.json()["events"]
    query = {"user_id": event["payload"]["id"]}
    found = get.Case(query=query, headers={"Dualbus-After": created.headers["dualbus-position"][0]}).call(
        headers=site.http_headers
    )
    assert found.json() == {"id": event["payload"]["id"], "name": "Ada"}
