"""What a test needs of the machine, and what it does where that is missing."""

import os
import shutil

import pytest


def need(what: str, *, there: bool) -> None:
    """Skip the test if something is missing; in CI, where nothing may be missing, fail."""
    if not there:
        assert os.environ.get("CI") != "true", f"{what} is missing, and this test must run in CI."
        pytest.skip(f"{what} is missing, and this test needs it.")


def need_strace() -> None:
    """Skip the test if there is no strace."""
    need("strace", there=shutil.which("strace") is not None)


def need_chromium() -> str:
    """Skip the test if there is no Chromium; return the path of its program."""
    found = shutil.which("chromium")
    need("chromium", there=found is not None)
    return str(found)
