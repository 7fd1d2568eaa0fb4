"""The processor's HTTP interface, on which the merchant's network has its bad days.

POST /charges and POST /refunds take an Idempotency-Key; GET /charges/{key} tells what became of a charge whose answer
never came; GET /charges?after=&limit= lists the ledger; GET /health. Refusals are problem documents (RFC 9457).
"""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

import msgspec
from aiohttp import web
from colonnade.world import Sleep

from grocer.processor.fates import Fate, Fates
from grocer.processor.ledger import (
    AlreadyRefunded,
    Charge,
    ChargeDeclined,
    ChargeRequest,
    KeyReused,
    Ledger,
    RefundRequest,
    RefusedEntry,
    UnknownCharge,
)

__all__ = ["application"]

T = TypeVar("T")

_BODY_LIMIT = 16 * 1024
"""Bytes."""
_PAGE_LIMIT = 1_000
"""Charges a page."""
_KEY = re.compile(r"[A-Za-z0-9._:/-]{1,255}")
_STATUS_OF: dict[type[RefusedEntry], int] = {
    KeyReused: 422,
    UnknownCharge: 404,
    ChargeDeclined: 409,
    AlreadyRefunded: 409,
}

_encode = msgspec.json.Encoder().encode
_charge_request = msgspec.json.Decoder(ChargeRequest)
_refund_request = msgspec.json.Decoder(RefundRequest)


class _BadRequest(Exception):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, code, detail)
        self.status, self.code, self.detail = status, code, detail


class _Page(msgspec.Struct, frozen=True):
    charges: list[Charge]
    next: int | None
    """What to give as `after` for the next page, None behind the last."""


def application(ledger: Ledger, fates: Fates, sleep: Sleep, *, delay: float, silence: float) -> web.Application:
    """The processor over a ledger.

    `delay` is how many seconds late a slow answer comes, `silence` how many a request without an answer is kept open.
    """
    processor = _Processor(ledger, fates, sleep, delay, silence)
    app = web.Application(client_max_size=_BODY_LIMIT, middlewares=[_problems])
    app.router.add_post("/charges", processor.charge)
    app.router.add_get("/charges", processor.charges)
    app.router.add_get("/charges/{key:.+}", processor.find)
    app.router.add_post("/refunds", processor.refund)
    app.router.add_get("/health", processor.health)
    return app


class _Processor:
    def __init__(self, ledger: Ledger, fates: Fates, sleep: Sleep, delay: float, silence: float) -> None:
        self._ledger, self._fates = ledger, fates
        self._sleep, self._delay, self._silence = sleep, delay, silence
        self._unanswered = set[str]()
        """Keys whose first request was left without an answer; a restart forgets them and leaves one more without."""

    async def charge(self, request: web.Request) -> web.Response:
        key = _key_of(request)
        body = await _body_of(request, _charge_request)
        fate = self._fates.of(body.card, body.amount)
        if fate is Fate.TIMEOUT and self._is_first(key):
            await self._sleep(self._silence)
            return _hung_up(request)
        charge, is_new = await self._ledger.charge(key, body, declined=fate is Fate.DECLINED)
        if is_new and fate is Fate.LOST:
            return _hung_up(request)
        if is_new and fate is Fate.SLOW:
            await self._sleep(self._delay)
        return _json(charge, 402 if charge.status == "declined" else 201)

    async def find(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        charge = self._ledger.find(key)
        if charge is None:
            raise UnknownCharge(key)
        return _json(charge)

    async def charges(self, request: web.Request) -> web.Response:
        after = _number_of(request, "after", default=0, at_most=2**63 - 1)
        limit = _number_of(request, "limit", default=100, at_most=_PAGE_LIMIT)
        charges = list(self._ledger.page(after, limit + 1))
        is_last = len(charges) <= limit
        del charges[limit:]
        return _json(_Page(charges, None if is_last or not charges else charges[-1].position))

    async def refund(self, request: web.Request) -> web.Response:
        return _json(await self._ledger.refund(_key_of(request), await _body_of(request, _refund_request)), 201)

    async def health(self, _request: web.Request) -> web.Response:
        self._ledger.page(0, 1)
        return _json({"status": "up"})

    def _is_first(self, key: str) -> bool:
        if key in self._unanswered:
            self._unanswered.discard(key)
            return False
        if self._ledger.find(key) is not None:
            return False
        self._unanswered.add(key)
        return True


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedEntry as refusal:
        return _problem(_STATUS_OF[type(refusal)], type(refusal).__name__, str(refusal))
    except _BadRequest as bad:
        return _problem(bad.status, bad.code, bad.detail)
    except web.HTTPException as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _problem(error.status, type(error).__name__.removeprefix("HTTP"), f"{error.text}.", allowed)


def _problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    document = {"type": code, "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return web.Response(body=_encode(document), status=status, content_type="application/problem+json", headers=headers)


def _json(answer: object, status: int = 200) -> web.Response:
    return web.Response(body=_encode(answer), status=status, content_type="application/json")


def _hung_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody is there to get it


def _key_of(request: web.Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not _KEY.fullmatch(key):
        raise _BadRequest(
            400, "BadIdempotencyKey", "Idempotency-Key must be 1 to 255 of the characters A-Z a-z 0-9 . _ : / -."
        )
    return key


async def _body_of(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    if request.content_type != "application/json":
        raise _BadRequest(415, "UnsupportedMediaType", f"The body is {request.content_type}, not application/json.")
    try:
        return decoder.decode(await request.read())
    except msgspec.ValidationError as error:
        raise _BadRequest(422, "Invalid", f"{error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _BadRequest(400, "Malformed", f"The body is not JSON: {error}.") from error


def _number_of(request: web.Request, name: str, *, default: int, at_most: int) -> int:
    text = request.query.get(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not 0 <= number <= at_most:
        raise _BadRequest(400, "Invalid", f"{name} is {text!r}, not a whole number from 0 to {at_most}.")
    return number
