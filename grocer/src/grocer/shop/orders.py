"""Grocer's ordering over HTTP, as a customer uses it: asked again, under the same key, until there is an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

import aiohttp
import msgspec
from colonnade.world import World

from grocer.inventory.contracts import Goods
from grocer.kernel import Money
from grocer.shop.day import Basket

__all__ = [
    "Order",
    "OrdersApi",
    "Outcome",
    "Placed",
    "Problem",
    "Refused",
    "Unanswered",
    "address_of",
    "correlation_of",
]

OPEN_STATUS = "pending"
"""The status of an order that has not ended yet."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts and between looks at an order, at most: doubled each time, then cut by chance."""

_CONSISTENCY = "Colonnade-Token"
"""Given with an answer to a command; who brings it back with a query reads at least what was written then."""

_ATTEMPT_TIMEOUT = aiohttp.ClientTimeout(total=15)


def correlation_of(key: str) -> UUID:
    """The correlation id of the request with an idempotency key: whatever follows from a basket is found by it."""
    return uuid5(NAMESPACE_URL, f"grocer:{key}")


class Problem(msgspec.Struct, frozen=True):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""


class Order(msgspec.Struct, frozen=True):
    """What the shop asks of an order: where it stands, what it costs, and why it was rejected."""

    status: str
    total: Money
    reason: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still change by itself."""
        return self.status == OPEN_STATUS


@dataclass(frozen=True, slots=True)
class Placed:
    """A basket that became an order. `seconds` is how long the attempt took that was answered, the last of them.

    Who brings the `token` sees the order at once; without one, as soon as the read model has it.
    """

    basket_id: int
    order_id: UUID
    seconds: float
    attempts: int
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A basket that was refused, and why. `seconds` and `attempts` as in `Placed`."""

    basket_id: int
    problem: Problem
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A basket of which nobody knows what became: there was no answer, or none that makes sense, in all attempts."""

    basket_id: int
    reason: str
    attempts: int


Outcome = Placed | Refused | Unanswered


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    reason: str
    content_type: str
    body: bytes
    token: str | None
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class _Silence:
    reason: str
    attempts: int


class _Created(msgspec.Struct, frozen=True):
    id: UUID


class _OrderLine(msgspec.Struct, frozen=True):
    product_id: int
    quantity: int


class _FillShelves(msgspec.Struct, frozen=True):
    levels: Sequence[_OrderLine]


class _PlaceOrder(msgspec.Struct, frozen=True):
    customer_id: UUID
    store_id: int
    lines: list[_OrderLine]


def address_of(url: str) -> str:
    """`url` as the address of a web server, without a slash at its end; raises `ValueError` where it is none."""
    try:
        base = urlsplit(url)
        valid = base.scheme in ("http", "https") and bool(base.hostname) and base.port != 0
    except ValueError:  # the port is no number
        valid = False
    if not valid:
        raise ValueError(f"{url!r} is not the address of a web server; give one like http://127.0.0.1:8000")
    return url.rstrip("/")


class OrdersApi:
    """Places orders and looks at them at a running system's `url`.

    Connection errors, time-outs, 429 and 5xx are tried again, with pauses that grow or as Retry-After says, for at
    most `patience` seconds a basket. Raises `ValueError` for a url that is not one of a web server.
    """

    def __init__(self, session: aiohttp.ClientSession, world: World, url: str, patience: float = 120.0) -> None:
        base = address_of(url)
        self._session, self._world, self._patience = session, world, patience
        self._orders = f"{base}/api/ordering/orders"
        self._stores = f"{base}/api/inventory/stores"

    async def place(self, basket: Basket, key: str) -> Outcome:
        """Order what is in the basket, under an idempotency key that stays the same at every attempt."""
        lines = [_OrderLine(line.product_id, line.quantity) for line in basket.lines]
        body = msgspec.json.encode(_PlaceOrder(basket.customer_id, basket.store_id, lines))
        headers = {
            "Idempotency-Key": key,
            "X-Correlation-ID": str(correlation_of(key)),
            "Content-Type": "application/json",
        }
        answer = await self._ask("POST", self._orders, headers, body, self._world.clock.monotonic() + self._patience)
        if isinstance(answer, _Silence):
            return Unanswered(basket.basket_id, answer.reason, answer.attempts)
        if 400 <= answer.status < 500:
            return Refused(basket.basket_id, _problem_of(answer), answer.seconds, answer.attempts)
        if answer.status != HTTPStatus.CREATED:
            return Unanswered(basket.basket_id, f"{answer.status} {answer.reason}, not 201", answer.attempts)
        try:
            created = msgspec.json.decode(answer.body, type=_Created)
        except ValueError as error:  # UnicodeDecodeError is none of msgspec's own
            return Unanswered(basket.basket_id, f"a 201 that makes no sense: {error}", answer.attempts)
        return Placed(basket.basket_id, created.id, answer.seconds, answer.attempts, answer.token)

    async def restock(self, store_id: int, levels: Sequence[Goods], key: str) -> Problem | None:
        """Bring a store's shelves up to `levels`; what was in the way, or None."""
        body = msgspec.json.encode(_FillShelves([_OrderLine(item.product_id, item.quantity) for item in levels]))
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        deadline = self._world.clock.monotonic() + self._patience
        answer = await self._ask("POST", f"{self._stores}/{store_id}/restocking", headers, body, deadline)
        if isinstance(answer, _Silence):
            return Problem(title=answer.reason, detail=f"no answer in {answer.attempts} attempts")
        return None if answer.status < 300 else _problem_of(answer)

    async def ended(self, placed: Placed, deadline: float) -> Order | None:
        """The order once it has ended, or as it stands at `deadline` (monotonic seconds); None if it was never seen."""
        headers = {_CONSISTENCY: placed.token} if placed.token is not None else {}
        order: Order | None = None
        looks = 0
        while True:
            looks += 1
            answer = await self._ask("GET", f"{self._orders}/{placed.order_id}", headers, None, deadline)
            if isinstance(answer, _Silence) or answer.status != HTTPStatus.OK:
                return order
            try:
                order = msgspec.json.decode(answer.body, type=Order)
            except ValueError:
                return order
            pause = self._pause(looks)
            if not order.is_open or self._world.clock.monotonic() + pause > deadline:
                return order
            await self._world.sleep(pause)

    async def _ask(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, deadline: float
    ) -> _Answer | _Silence:
        clock = self._world.clock
        attempts = 0
        while True:
            attempts += 1
            pause = self._pause(attempts)
            started = clock.monotonic()
            try:
                async with self._session.request(
                    method, url, headers=headers, data=body, timeout=_ATTEMPT_TIMEOUT, allow_redirects=False
                ) as response:
                    content = await response.read()
                if response.status < 500 and response.status != HTTPStatus.TOO_MANY_REQUESTS:
                    return _Answer(
                        response.status,
                        response.reason or "",
                        response.content_type,
                        content,
                        response.headers.get(_CONSISTENCY),
                        clock.monotonic() - started,
                        attempts,
                    )
                reason = f"{response.status} {response.reason}"
                if (after := response.headers.get("Retry-After", "")).isdecimal():
                    pause = float(after)
            except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
                reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            if clock.monotonic() + pause > deadline:
                return _Silence(reason, attempts)
            await self._world.sleep(pause)

    def _pause(self, attempts: int) -> float:
        # Half of it by chance, so that customers turned away together do not come back together.
        longest = min(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 10), _LONGEST_PAUSE)
        return longest * (1 + self._world.randomness.random()) / 2


def _problem_of(answer: _Answer) -> Problem:
    if answer.content_type == "application/problem+json":
        try:
            return msgspec.json.decode(answer.body, type=Problem)
        except ValueError:  # said to be a problem document and is none: told as any other body is
            pass
    return Problem(title=answer.reason, status=answer.status, detail=answer.body[:200].decode(errors="replace"))
