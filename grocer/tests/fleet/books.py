"""What Grocer's services wrote down, order by order and goods by goods, in words that are the same for every system."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from colonnade.persistence.store import Store, StoredEvent
from colonnade.system.admin.evidence import open_to_read
from colonnade.world import World

from grocer.shop.day import load_day
from grocer.shop.orders import correlation_of

PAGE_EVENTS = 1_000
OF_ORDERS = {"ordering": "Order/", "payments": "Payment/", "delivery": "Shipment/"}
"""The services that know orders, and the streams in which they do."""

GOODS = ("GoodsReceived", "GoodsReserved", "GoodsReleased", "GoodsSold", "GoodsReturned")


@dataclass(frozen=True)
class Goods:
    """One shelf as it is in the end."""

    on_hand: int
    set_aside: int
    sold: int


@dataclass(frozen=True)
class Written:
    """The history of each basket's order, its ids left out, and how each shelf stands."""

    orders: Mapping[int, Sequence[str]]
    goods: Mapping[str, Goods]

    @property
    def confirmed(self) -> int:
        """How many of the orders are the customers'."""
        return sum(any(line.startswith("ordering.OrderConfirmed") for line in told) for told in self.orders.values())


async def written(data: Path, run: str, world: World) -> Written:
    """What the system at `data` wrote down of the shopping called `run`."""
    baskets = {correlation_of(f"{run}/{basket.basket_id}"): basket.basket_id for basket in load_day().baskets}
    told: dict[UUID, list[str]] = defaultdict(list)
    of_basket: dict[int, UUID] = {}
    async with open_to_read(data, [*OF_ORDERS, "inventory"], world) as stores:
        for service, streams in OF_ORDERS.items():
            for event in await _events(stores[service]):
                if not event.stream.startswith(streams):
                    continue
                fields: dict[str, Any] = msgspec.json.decode(event.data)
                order = UUID(fields.pop("order_id"))
                line = f"{event.name} {msgspec.json.encode(fields, order='sorted').decode()}"
                told[order].append(line.replace(str(order), "its order"))  # reasons name it
                if event.name == "ordering.OrderPlaced":
                    of_basket[baskets[event.correlation_id]] = order
        moved: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(GOODS, 0))
        for event in await _events(stores["inventory"]):
            fields = msgspec.json.decode(event.data)
            moved[event.stream][event.name.removeprefix("inventory.")] += fields["quantity"]
    return Written(
        {basket: told[order] for basket, order in of_basket.items()},
        {shelf: _stands(*(each[name] for name in GOODS)) for shelf, each in moved.items()},
    )


def _stands(received: int, reserved: int, released: int, sold: int, returned: int) -> Goods:
    return Goods(received - reserved + released + returned, reserved - released - sold, sold - returned)


async def _events(store: Store) -> Sequence[StoredEvent]:
    events: list[StoredEvent] = []
    while page := await store.log.read(events[-1].position if events else 0, PAGE_EVENTS):
        events += page
    return events
