"""Orders as rows, for the pages of customers."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from colonnade.application import Page, Projection, Write, change, cursor_at, cursor_keys, upsert
from colonnade.messages import Metadata
from colonnade.persistence import Reads
from sqlalchemy import Column, DateTime, Index, Integer, MetaData, Numeric, String, Table, Uuid, select

from grocer.kernel import Money
from grocer.ordering.application.queries import (
    Happening,
    OrderById,
    OrdersByCustomer,
    OrderSummary,
    OrderView,
    UnknownOrder,
)
from grocer.ordering.contracts import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderRejected
from grocer.ordering.domain.order import OrderStatus

__all__ = ["OrderByIdHandler", "OrderHistory", "OrdersByCustomerHandler", "order_history"]

order_history = Table(
    "order_history",
    MetaData(),
    Column("order_id", Uuid, primary_key=True),
    Column("customer_id", Uuid, nullable=False),
    Column("store_id", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("lines", String, nullable=False),
    Column("total", Numeric, nullable=False),
    Column("placed_at", DateTime(timezone=True), nullable=False),
    Column("confirmed_at", DateTime(timezone=True)),
    Column("rejected_at", DateTime(timezone=True)),
    Column("cancelled_at", DateTime(timezone=True)),
    Column("reason", String),
    Index("order_history_by_customer", "customer_id", "order_id"),
)

_lines = msgspec.json.Decoder(tuple[OrderLine, ...])


class OrderHistory(Projection[OrderPlaced | OrderConfirmed | OrderRejected | OrderCancelled]):
    """One row an order, for the customer's list."""

    tables = (order_history,)

    def on(self, event: OrderPlaced | OrderConfirmed | OrderRejected | OrderCancelled, meta: Metadata) -> Write:
        match event:
            case OrderPlaced():
                return upsert(
                    order_history,
                    order_id=event.order_id,
                    customer_id=event.customer_id,
                    store_id=event.store_id,
                    status=OrderStatus.PENDING,
                    lines=msgspec.json.encode(event.lines).decode(),
                    total=event.total.amount,
                    placed_at=meta.time,
                )
            case OrderConfirmed():
                return change(
                    order_history, order_id=event.order_id, status=OrderStatus.CONFIRMED, confirmed_at=meta.time
                )
            case OrderRejected():
                return change(
                    order_history,
                    order_id=event.order_id,
                    status=OrderStatus.REJECTED,
                    rejected_at=meta.time,
                    reason=f"{event.code}: {event.reason}",
                )
            case OrderCancelled():
                return change(
                    order_history, order_id=event.order_id, status=OrderStatus.CANCELLED, cancelled_at=meta.time
                )


@dataclass(frozen=True)
class OrderByIdHandler:
    reads: Reads

    async def __call__(self, query: OrderById) -> OrderView:
        row = await self.reads.first(select(order_history).where(order_history.c.order_id == query.order_id))
        if row is None:
            raise UnknownOrder(query.order_id)
        moments: list[tuple[OrderStatus, datetime | None]] = [
            (OrderStatus.PENDING, row.placed_at),
            (OrderStatus.CONFIRMED, row.confirmed_at),
            (OrderStatus.REJECTED, row.rejected_at),
            (OrderStatus.CANCELLED, row.cancelled_at),
        ]
        return OrderView(
            id=row.order_id,
            customer_id=row.customer_id,
            store_id=row.store_id,
            status=OrderStatus(row.status),
            lines=_lines.decode(row.lines),
            total=Money(row.total),
            happened=tuple(Happening(what, when) for what, when in moments if when is not None),
            reason=row.reason,
        )


@dataclass(frozen=True)
class OrdersByCustomerHandler:
    reads: Reads

    async def __call__(self, query: OrdersByCustomer) -> Page[OrderSummary]:
        # Identities are made in the order of time, so that they sort as the orders were placed
        orders = (
            select(order_history.c.order_id, order_history.c.status, order_history.c.total, order_history.c.placed_at)
            .where(order_history.c.customer_id == query.customer_id)
            .order_by(order_history.c.order_id.desc())
            .limit(query.limit + 1)
        )
        if query.after is not None:
            (last,) = cursor_keys(query.after, str)
            orders = orders.where(order_history.c.order_id < UUID(str(last)))
        rows = await self.reads.all(orders)
        items = tuple(
            OrderSummary(row.order_id, OrderStatus(row.status), Money(row.total), row.placed_at)
            for row in rows[: query.limit]
        )
        return Page(items, cursor_at(str(items[-1].id)) if len(rows) > query.limit else None)
