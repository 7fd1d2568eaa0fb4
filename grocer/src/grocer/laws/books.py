"""Reading the services' logs and the processor's ledger, beside a system that may be running, and judging them."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import msgspec
from colonnade.messages import Message
from colonnade.persistence.sqlite import SqliteStore, open_sqlite_store
from colonnade.persistence.store import StoredEvent
from colonnade.world import World

from grocer.kernel import ZERO
from grocer.laws.goods import GOODS, Shelves
from grocer.laws.money import PAYMENTS, Charged, Payments, charges_in
from grocer.laws.orders import ORDERS, SAGA_ENDED, KnownOrder, Orders
from grocer.laws.verdict import Breach, Law, Verdict

__all__ = ["Books"]

PAGE_EVENTS = 2_000
LEDGER = "card-processor.sqlite3"


class _Ended(msgspec.Struct):
    end: str


def _decoders(service: str, kinds: Collection[type[Message]]) -> dict[str, Callable[[bytes], Any]]:
    return {f"{service}.{kind.__name__}": msgspec.json.Decoder(kind).decode for kind in kinds}


class Books:
    """All that Grocer's services wrote down, read further each time it is judged."""

    def __init__(self, data: Path, stores: Mapping[str, SqliteStore]) -> None:
        self._ledger = data / LEDGER
        self._stores = stores
        self._positions = dict.fromkeys(stores, 0)
        self._shelves = Shelves()
        self._orders = Orders()
        self._payments = Payments()
        self._goods = _decoders("inventory", GOODS)
        self._of_orders = _decoders("ordering", ORDERS) | {SAGA_ENDED: msgspec.json.Decoder(_Ended).decode}
        self._money = _decoders("payments", PAYMENTS)

    @classmethod
    @asynccontextmanager
    async def open(cls, data: Path, world: World) -> AsyncIterator[Self]:
        """Open the stores in `data` for reading; raises `FileNotFoundError`, `NotAStore` or `NewerStore`."""
        async with AsyncExitStack() as opened:
            stores = {}
            for service in ("ordering", "inventory", "payments"):
                stores[service] = await open_sqlite_store(data / f"{service}.sqlite3", world, read_only=True)
                opened.push_async_callback(stores[service].close)
            yield cls(data, stores)

    async def judge(self, accepted: Collection[UUID] = ()) -> Verdict:
        """Read on, and judge what is known now; `accepted` are orders that customers were promised.

        The stores are read one after the other, so that an order that moves meanwhile is not judged this time.
        """
        await self._read("ordering", self._of_orders, self._follow_order)
        self._orders.changed.clear()
        await self._read("payments", self._money, lambda event, message: self._payments.follow(message))
        charges = charges_in(self._ledger) if self._ledger.exists() else None
        await self._read("inventory", self._goods, lambda event, message: self._shelves.follow(event.stream, message))
        await self._read("ordering", self._of_orders, self._follow_order)
        verdict = Verdict([*self._shelves.breaches, *self._payments.breaches, *self._orders.breaches])
        self._judge_charges(charges, verdict)
        self._judge_orders(charges, verdict)
        for order_id in accepted:
            if order_id not in self._orders.known:
                verdict.broken.append(Breach(Law.BASKETS, f"order {order_id}", "it was accepted, and is not there"))
        return verdict

    async def _read(
        self, service: str, decoders: Mapping[str, Callable[[bytes], Any]], follow: Callable[[StoredEvent, Any], None]
    ) -> None:
        log = self._stores[service].log
        while page := await log.read(self._positions[service], PAGE_EVENTS, list(decoders)):
            for event in page:
                follow(event, decoders[event.name](event.data))
            self._positions[service] = page[-1].position

    def _follow_order(self, event: StoredEvent, message: Any) -> None:
        if event.name == SAGA_ENDED:
            self._orders.end_saga(event.stream, message.end)
        else:
            self._orders.follow(message)

    def _judge_charges(self, charges: Mapping[UUID, Charged] | None, verdict: Verdict) -> None:
        verdict.figures.shelves = len(self._shelves)
        if charges is None:
            return
        verdict.figures.charges = sum(charged.charges for charged in charges.values())
        for order_id, charged in charges.items():
            if charged.charges > 1:
                why = f"the card processor charged it {charged.charges} times"
                verdict.broken.append(Breach(Law.CHARGES, f"order {order_id}", why))
            if order_id not in self._orders.known:
                verdict.broken.append(Breach(Law.MONEY, f"order {order_id}", "it was charged, and there is no order"))

    def _judge_orders(self, charges: Mapping[UUID, Charged] | None, verdict: Verdict) -> None:
        figures = verdict.figures
        setting_aside = dict(self._shelves.reserved())
        for order_id in setting_aside.keys() - self._orders.known.keys():
            why = f"goods are set aside at {setting_aside[order_id]}, and there is no order"
            verdict.broken.append(Breach(Law.GOODS, f"order {order_id}", why))
        for order_id, order in self._orders.known.items():
            figures.orders += 1
            of = f"order {order_id}"
            unsettled = order.unsettled
            if unsettled is None and order_id in self._orders.changed:
                unsettled = "it moved while it was looked at"
            if unsettled is None and (stream := setting_aside.get(order_id)) is not None:
                unsettled = f"it is {order.status}, and goods are still set aside for it at {stream}"
            if unsettled is not None:
                verdict.unsettled.append(Breach(Law.ENDS, of, unsettled))
                continue
            figures.settled += 1
            self._judge_money(order_id, order, charges, verdict)

    def _judge_money(
        self, order_id: UUID, order: KnownOrder, charges: Mapping[UUID, Charged] | None, verdict: Verdict
    ) -> None:
        figures = verdict.figures
        captured, refunded = self._payments.of(order_id)
        figures.captured += captured
        figures.refunded += refunded
        figures.confirmed += order.value
        of = f"order {order_id}"
        if captured - refunded != order.value:
            why = (
                f"{captured.amount} was captured and {refunded.amount} refunded, and as it is {order.status} "
                f"{order.value.amount} is owed"
            )
            verdict.broken.append(Breach(Law.MONEY, of, why))
        if charges is None:
            return
        charged = charges.get(order_id, Charged(0, ZERO, ZERO))
        if charged.charged - charged.refunded != order.value:
            why = (
                f"the card processor charged {charged.charged.amount} and gave back {charged.refunded.amount}, and as "
                f"it is {order.status} {order.value.amount} is owed"
            )
            verdict.broken.append(Breach(Law.MONEY, of, why))
