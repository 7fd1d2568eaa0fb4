"""The card processor over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import aiohttp
import msgspec

from grocer.kernel import CURRENCY, Money
from grocer.payments.application.ports import CardProcessor

__all__ = ["ANSWER_WITHIN_SECONDS", "FOUND_WITHIN_SECONDS", "CardProcessorFailed", "connected"]

ANSWER_WITHIN_SECONDS = 5.0
FOUND_WITHIN_SECONDS = 2.0
"""A processor that gave no answer is asked for the charge once, and no longer: it is asked again later."""


class CardProcessorFailed(Exception):
    """The processor answered in a way that says nothing about the charge."""

    def __init__(self, call: str, status: int, detail: str) -> None:
        super().__init__(call, status, detail)
        self.call, self.status, self.detail = call, status, detail

    def __str__(self) -> str:
        return f"The card processor answered {self.call} with {self.status}: {self.detail}; it is asked again later."


@dataclass(frozen=True)
class HttpCardProcessor:
    """Speaks to the processor; a call whose answer was lost is looked up by its key before it is given up."""

    session: aiohttp.ClientSession

    async def charge(self, key: str, customer_id: UUID, amount: Money) -> bool:
        """Take `amount` from the card of the customer."""
        body = {
            "amount": str(amount.amount),
            "currency": CURRENCY,
            "card": f"card-{customer_id.int}",
            "reference": key.rpartition("/")[2],
        }
        try:
            async with self.session.post("/charges", json=body, headers={"Idempotency-Key": key}) as response:
                if response.status in (201, 402):
                    return response.status == 201
                raise CardProcessorFailed("POST /charges", response.status, await response.text())
        except (aiohttp.ClientConnectionError, TimeoutError):
            charged = await self._find(key)
            if charged is None:
                raise
            return charged

    async def refund(self, key: str, charge_key: str, amount: Money) -> bool:
        """Give back what the charge took, if it took anything."""
        if not await self._find(charge_key):
            return False
        body = {"charge": charge_key, "amount": str(amount.amount)}
        async with self.session.post("/refunds", json=body, headers={"Idempotency-Key": key}) as response:
            if response.status != 201:
                raise CardProcessorFailed("POST /refunds", response.status, await response.text())
            return True

    async def _find(self, key: str) -> bool | None:
        async with self.session.get(f"/charges/{key}", timeout=_FOUND_WITHIN) as response:
            if response.status == 404:
                return None
            if response.status != 200:
                raise CardProcessorFailed(f"GET /charges/{key}", response.status, await response.text())
            return msgspec.json.decode(await response.read(), type=_Charge).status == "succeeded"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[CardProcessor]:
    """The processor at `url`, over connections that end with the block."""
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_SECONDS)) as session:
        yield HttpCardProcessor(session)


_FOUND_WITHIN = aiohttp.ClientTimeout(total=FOUND_WITHIN_SECONDS)


class _Charge(msgspec.Struct):
    status: str
