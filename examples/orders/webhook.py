"""A webhook: the payment service reports a payment over HTTP, at least once, with an id and a signature of its own.

    uvicorn examples.orders.webhook:app

The id of the report is the idempotency key of the command: a repeated report has no second effect.
"""

import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from dualbus import AsyncClient, Rejected
from examples.orders.messages import ConfirmPayment

SECRET = os.environ.get("WEBHOOK_SECRET", "secret").encode()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncClient() as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/payments")
async def payment_reported(request: Request) -> dict[str, Any]:
    body = await request.body()
    signature = hmac.digest(SECRET, body, "sha256").hex()
    if not hmac.compare_digest(signature, request.headers.get("X-Signature", "")):
        raise HTTPException(401, "The signature is wrong.")
    report = json.loads(body)
    command = ConfirmPayment(order=report["order"], payment=report["payment"])
    try:
        result = await app.state.client.command(command, idempotency_key=f"payment-report-{report['id']}")
    except Rejected as rejected:
        return {"accepted": False, "errors": rejected.errors}  # a repetition would be rejected, too
    return {"accepted": True, "already_processed": result.repeated}
