"""The payment service of the example, on port 8090: python -m examples.orders.services

The payment service fails half of the time, before or after the charge. It declines amounts of 1000 euros and more,
and reports an amount of 13.37 euros later, over a webhook (see webhook.py).
"""

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DECLINED_CENTS, LATER_CENTS = 100_000, 1337


class Payments(ThreadingHTTPServer):
    """A payment service. `charged` has each charge by its key: a repeated request has the first answer."""

    def __init__(self, port: int = 0, chance: random.Random | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.charged: dict[str, dict[str, Any]] = {}
        self.requests = 0
        self.chance = chance or random.Random()  # noqa: S311
        self.lock = threading.Lock()

    def charge(self, key: str, order: str, cents: int) -> dict[str, Any]:
        """Charge once for each key."""
        status = "declined" if cents >= DECLINED_CENTS else "pending" if cents == LATER_CENTS else "paid"
        answer = {"status": status, "payment": f"payment-{len(self.charged) + 1}", "order": order}
        return self.charged.setdefault(key, answer)


class _Handler(BaseHTTPRequestHandler):
    server: Payments

    def do_POST(self) -> None:
        """Answer a request, or fail."""
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests += 1
            fate = self.server.chance.choice(["fail", "answer", "answer", "charge and fail"])
            answer: dict[str, Any] = {}
            if fate != "fail":
                answer = self.server.charge(self.headers["Idempotency-Key"], fields["order"], fields["cents"])
        body = json.dumps(answer).encode()
        self.send_response(200 if fate == "answer" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Write no line for each request."""


if __name__ == "__main__":
    Payments(8090).serve_forever()
