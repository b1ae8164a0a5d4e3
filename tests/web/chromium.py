"""Headless Chromium, and the pages of a test in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from dualbus.testing import Cluster
from tests.faults.needs import need_chromium

# Without the last ones, Chromium sends requests of its own to the network.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TIMEOUT_MS = 60_000  # generous, because the machine may be busy: this only ends a test that hangs


@contextmanager
def chromium() -> Iterator[Browser]:
    """Provide Chromium; skip the test without it."""
    path = need_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Faults:
    """Everything that a page must not do, as Chromium reports it."""

    def __init__(self, page: Page, http: str) -> None:
        self.found: list[str] = []
        self.allowed: tuple[str, ...] = ()  # parts of the text of faults that a test causes itself
        self._http = http
        page.on("console", lambda message: self._add(message.type in ("error", "warning"), message.text))
        page.on("pageerror", lambda error: self._add(True, str(error)))
        page.on(
            "request", lambda request: self._add(not request.url.startswith(f"{http}/"), f"foreign {request.url}")
        )
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Any) -> None:
        self.found.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _add(self, is_fault: bool, text: str) -> None:
        if is_fault:
            self.found.append(text)

    def check(self) -> None:
        """Raise an AssertionError for a fault."""
        assert [text for text in self.found if not any(part in text for part in self.allowed)] == []


@contextmanager
def page_of(browser: Browser, site: Cluster, **options: Any) -> Iterator[tuple[Page, Faults]]:
    """Provide a page with the token in its cookie, and check at the end that the page had no fault."""
    options = {"viewport": {"width": 1280, "height": 860}, **options}
    context = browser.new_context(base_url=site.http, reduced_motion="reduce", **options)
    context.set_default_timeout(TIMEOUT_MS)
    token = site.http_headers["authorization"].removeprefix("Bearer ")
    context.request.get(f"/?token={token}", max_redirects=0)
    page = context.new_page()
    faults = Faults(page, site.http)
    yield page, faults
    context.close()
    faults.check()
