"""Reading the services' logs and the processor's ledger, beside a system that may be running, and judging them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from colonnade.messages.codec import MessageCodec
from colonnade.messages.names import MessageNames
from colonnade.persistence.store import Store, StoredEvent
from colonnade.system.admin.evidence import open_to_read
from colonnade.workers.sagas.history import SagaEnded
from colonnade.world import World

from grocer.inventory.service import inventory
from grocer.laws.goods import GOODS, Shelves
from grocer.laws.money import PAYMENTS, UNCHARGED, Charged, Payments, charges_in
from grocer.laws.orders import ORDERS, KnownOrder, Orders
from grocer.laws.verdict import Breach, Law, Verdict, order_named
from grocer.ordering.service import ordering
from grocer.payments.service import payments

__all__ = ["Books"]

PAGE_EVENTS = 1_000
LEDGER = "card-processor.sqlite3"

_READ = {
    ordering.name: (*ORDERS, SagaEnded),
    payments.name: PAYMENTS,
    inventory.name: GOODS,
}


def _names() -> MessageNames:
    names = MessageNames()
    names.bind("colonnade", [SagaEnded], {})
    names.bind(ordering.name, ORDERS, ordering.names)
    names.bind(payments.name, PAYMENTS, payments.names)
    names.bind(inventory.name, GOODS, inventory.names)
    return names


class Books:
    """All that Grocer's services wrote down, read further each time it is judged."""

    def __init__(self, data: Path, stores: Mapping[str, Store], world: World) -> None:
        self._ledger = data / LEDGER
        self._stores, self._world = stores, world
        self._positions = dict.fromkeys(stores, 0)
        self._codec = MessageCodec(_names())
        self._shelves = Shelves()
        self._orders = Orders()
        self._payments = Payments()

    @classmethod
    @asynccontextmanager
    async def open(cls, data: Path, world: World) -> AsyncIterator[Self]:
        """Open the stores of a system that keeps its data in `data` for reading.

        Raises `FileNotFoundError`, `NotAStore`, `NewerStore` or `StoreFailed`.
        """
        async with open_to_read(data, list(_READ), world) as stores:
            yield cls(data, stores, world)

    async def judge(self, baskets: Mapping[UUID, UUID | None] | None = None) -> Verdict:
        """Read on, and judge what is known now; raises `StoreFailed`, `MalformedMessage` or `NewerVersion`.

        `baskets` has what customers were told: by the correlation id of each request the order that was promised, None
        where it was refused.

        The stores are read one after the other, each later than what it follows from: what is charged is written down
        after it happened, so the ledger is read after the payments. An order that moves meanwhile is not judged.
        """
        await self._read(ordering.name, self._orders.follow)
        self._orders.changed.clear()
        await self._read(payments.name, lambda _, event: self._payments.follow(event))
        charges = charges_in(self._ledger) if self._ledger.exists() else None
        await self._read(inventory.name, self._shelves.follow)
        await self._read(ordering.name, self._orders.follow)
        verdict = Verdict([*self._shelves.breaches, *self._payments.breaches, *self._orders.breaches])
        verdict.broken.extend(self._payments.against(charges))
        if charges is not None:
            self._judge_charges(charges, verdict)
        self._judge_orders(charges, verdict)
        verdict.broken.extend(self._orders.against(baskets or {}))
        return verdict

    async def _read(self, service: str, follow: Callable[[StoredEvent, Any], None]) -> None:
        log, decode = self._stores[service].log, self._codec.decode
        names = [self._codec.names.name_of(kind) for kind in _READ[service]]
        while page := await log.read(self._positions[service], PAGE_EVENTS, names):
            for event in page:
                follow(event, decode(event.name, event.schema, event.data))
            self._positions[service] = page[-1].position
            await self._world.sleep(0)  # so that reading a long log can be interrupted

    def _judge_charges(self, charges: Mapping[UUID, Charged], verdict: Verdict) -> None:
        verdict.figures.charges = sum(charged.charges for charged in charges.values())
        for order_id, charged in charges.items():
            if charged.charges > 1:
                why = f"the card processor charged it {charged.charges} times"
                verdict.broken.append(Breach(Law.CHARGES, order_named(order_id), why))
            if charged.refunded.amount > charged.charged.amount:
                why = f"{charged.charged.amount} was charged, and the processor gave {charged.refunded.amount} back"
                verdict.broken.append(Breach(Law.TAKEN, order_named(order_id), why))
            if order_id not in self._orders.known:
                verdict.broken.append(Breach(Law.MONEY, order_named(order_id), "it was charged, and there is no order"))

    def _judge_orders(self, charges: Mapping[UUID, Charged] | None, verdict: Verdict) -> None:
        figures = verdict.figures
        figures.shelves, figures.movements = len(self._shelves), self._shelves.movements
        for order_id in self._shelves.orders():
            if order_id not in self._orders.known:
                why = "goods were set aside for it, and there is no order"
                verdict.broken.append(Breach(Law.HANDED_OUT, order_named(order_id), why))
        for order_id, order in self._orders.known.items():
            figures.orders += 1
            unsettled = order.unsettled
            if unsettled is None and order_id in self._orders.changed:
                unsettled = "it moved while it was looked at"
            # The goods of a confirmed order are sold a moment after it has ended
            waiting = self._shelves.set_aside_for(order_id)
            if unsettled is None and waiting and order.status == "confirmed":
                unsettled = f"it is confirmed, and {waiting} pieces are still set aside for it"
            if unsettled is not None:
                verdict.unsettled.append(Breach(Law.ENDS, order_named(order_id), unsettled))
                continue
            figures.settled += 1
            self._judge_money(order_id, order, charges, verdict)
            self._judge_goods(order_id, order, verdict)

    def _judge_money(
        self, order_id: UUID, order: KnownOrder, charges: Mapping[UUID, Charged] | None, verdict: Verdict
    ) -> None:
        figures = verdict.figures
        captured, refunded = self._payments.of(order_id)
        figures.captured += captured
        figures.refunded += refunded
        figures.confirmed += order.value
        owed = f"as it is {order.status} {order.value.amount} is owed"
        if captured - refunded != order.value:
            why = f"{captured.amount} was captured and {refunded.amount} refunded, and {owed}"
            verdict.broken.append(Breach(Law.MONEY, order_named(order_id), why))
        if charges is None:
            return
        charged = charges.get(order_id, UNCHARGED)
        if charged.charged - charged.refunded != order.value:
            why = (
                f"the card processor charged {charged.charged.amount} and gave back {charged.refunded.amount}, and "
                f"{owed}"
            )
            verdict.broken.append(Breach(Law.MONEY, order_named(order_id), why))

    def _judge_goods(self, order_id: UUID, order: KnownOrder, verdict: Verdict) -> None:
        sold, waiting = self._shelves.sold_to(order_id), self._shelves.set_aside_for(order_id)
        verdict.figures.sold += sold
        if sold != order.goods or waiting:
            why = f"as it is {order.status}, {order.goods} pieces are the customer's; {sold} were sold"
            if waiting:
                why = f"{why} and {waiting} are still set aside"
            verdict.broken.append(Breach(Law.HANDED_OUT, order_named(order_id), why))
