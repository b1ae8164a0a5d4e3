"""Fixtures: the application of the fixture `dualbus_cluster`."""

import pytest


@pytest.fixture
def dualbus_app() -> str:
    return "myapp:app"
