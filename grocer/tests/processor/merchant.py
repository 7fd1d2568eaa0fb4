"""Someone who takes cards, for tests of the processor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass
class Answer:
    """An HTTP answer, read."""

    status: int
    content_type: str
    body: Any


@dataclass
class Merchant:
    """Someone who takes cards: the requests that a merchant sends, as short calls."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, *, key: str | None = None, seconds: float = 10, **sent: Any) -> Answer:
        """Send a request and read its answer; raises as aiohttp does when there is none."""
        headers: Mapping[str, str] = {} if key is None else {"Idempotency-Key": key}
        async with self.session.request(
            method,
            self.url + path,
            headers={**headers, **sent.pop("headers", {})},
            timeout=aiohttp.ClientTimeout(total=seconds),
            **sent,
        ) as response:
            return Answer(response.status, response.content_type, await response.json(content_type=None))

    async def charge(
        self, key: str, card: str = "tok_ok", amount: str = "12.34", reference: str = "order-1", seconds: float = 10
    ) -> Answer:
        """Charge a card."""
        body = {"amount": amount, "currency": "USD", "card": card, "reference": reference}
        return await self.ask("POST", "/charges", key=key, seconds=seconds, json=body)

    async def refund(self, key: str, charge: str, amount: str = "12.34") -> Answer:
        """Give money back."""
        return await self.ask("POST", "/refunds", key=key, json={"charge": charge, "amount": amount})

    async def find(self, key: str) -> Answer:
        """Ask what became of a charge."""
        return await self.ask("GET", f"/charges/{key}")
