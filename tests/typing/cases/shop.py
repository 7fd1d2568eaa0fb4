"""A service as its author types it: nothing here is an error but what is marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

from sqlalchemy import Column, MetaData, String, Table, Uuid, select

from colonnade.application import (
    Deferred,
    Delivery,
    Ids,
    Mediator,
    Outbox,
    Plan,
    Projection,
    Repository,
    Saga,
    Step,
    Subscriber,
    Together,
    Write,
    change,
    seconds,
    upsert,
)
from colonnade.domain import Aggregate, Conflict, Invalid
from colonnade.messages import Command, Event, Metadata, Positive, Query, Value
from colonnade.persistence import Reads
from colonnade.presentation import Api, Get, Post
from colonnade.system import Service, System
from colonnade.testing import RunningSystem, given


class Line(Value):
    product_id: int
    quantity: Positive


class Placed(Event):
    order_id: UUID
    lines: tuple[Line, ...]


class Confirmed(Event):
    order_id: UUID


class Foreign(Event):
    order_id: UUID


class Status(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"


class Empty(Invalid):
    """An order has lines."""


class NotPending(Conflict):
    """Only a pending order can be confirmed."""

    status: Status


class Order(Aggregate[Placed | Confirmed]):
    status: Status

    @classmethod
    def place(cls, order_id: UUID, lines: Sequence[Line]) -> Self:
        if not lines:
            raise Empty
        order = cls(order_id)
        order.record(Placed(order_id, tuple(lines)))
        order.record(Foreign(order_id))  # E: incompatible type "Foreign"
        return order

    def confirm(self) -> None:
        if self.status is not Status.PENDING:
            raise NotPending(self.status)
        self.record(Confirmed(self.id))

    def apply(self, event: Placed | Confirmed) -> None:
        match event:
            case Placed():
                self.status = Status.PENDING
            case Confirmed():
                self.status = Status.CONFIRMED


class Forgetful(Aggregate[Placed | Confirmed]):
    def apply(self, event: Placed | Confirmed) -> None:
        match event:  # E: Match statement has unhandled case
            case Placed():
                pass


class Misled(Aggregate[Placed]):
    def apply(self, event: Confirmed) -> None:  # E: incompatible with supertype
        pass


class PlaceOrder(Command[UUID]):
    lines: tuple[Line, ...]


class ConfirmOrder(Command):
    order_id: UUID


class StatusOf(Query[Status]):
    order_id: UUID


@dataclass(frozen=True)
class PlaceOrderHandler:
    orders: Repository[Order]
    ids: Ids

    async def __call__(self, command: PlaceOrder) -> UUID:
        order = Order.place(self.ids.new(), command.lines)
        reveal_type(await self.orders.get(order.id))  # R: tests.typing.cases.shop.Order
        reveal_type(await self.orders.find(order.id))  # R: tests.typing.cases.shop.Order | None
        self.orders.add(order)
        self.orders.add(Forgetful(order.id))  # E: incompatible type "Forgetful"
        return order.id


@dataclass(frozen=True)
class ConfirmOrderHandler:
    orders: Repository[Order]
    outbox: Outbox

    async def __call__(self, command: ConfirmOrder) -> Deferred | None:
        (await self.orders.get(command.order_id)).confirm()
        self.outbox.send(ConfirmOrder(command.order_id), after=seconds(5))
        return Deferred("key")


table = Table("orders", MetaData(), Column("order_id", Uuid, primary_key=True), Column("status", String))


class Orders(Projection[Placed | Confirmed]):
    tables = (table,)

    def on(self, event: Placed | Confirmed, meta: Metadata) -> Write:
        match event:
            case Placed():
                return upsert(table, order_id=event.order_id, status="pending")
            case Confirmed():
                return change(table, order_id=event.order_id, status="confirmed")


class Telling(Subscriber[Confirmed]):
    async def on(self, event: Confirmed, delivery: Delivery) -> ConfirmOrder | None:
        reveal_type(delivery.key)  # R: uuid.UUID
        return ConfirmOrder(event.order_id)


class Fulfil(Saga[Placed]):
    def plan(self, event: Placed) -> Plan:
        of = event.order_id
        return Plan(
            Together(
                Step("a", ConfirmOrder(of)), Step("b", ConfirmOrder(of), undo=ConfirmOrder(of), timeout=seconds(9))
            ),
            Step("c", PlaceOrder(())),  # E: incompatible type "PlaceOrder"
            completed=ConfirmOrder(of),
            failed=lambda why: ConfirmOrder(UUID(why.code)),
        )


@dataclass(frozen=True)
class StatusOfHandler:
    reads: Reads

    async def __call__(self, query: StatusOf) -> Status:
        row = await self.reads.first(select(table.c.status).where(table.c.order_id == query.order_id))
        return Status(row.status) if row is not None else Status.PENDING


api = Api(
    Post("/orders", PlaceOrder, creates="/orders/{id}", example=PlaceOrder(())),
    Get("/orders/{order_id}", StatusOf),
)

wrong_get = Get("/orders", PlaceOrder)  # E: Value of type variable "Q" of "Get" cannot be "PlaceOrder"
wrong_post = Post("/orders/{order_id}", StatusOf)  # E: Value of type variable "C" of "Post" cannot be "StatusOf"

service = Service(
    "shop",
    handlers=[PlaceOrderHandler, ConfirmOrderHandler, StatusOfHandler],
    sagas=[Fulfil],
    projections=[Orders],
    subscribers=[Telling],
    api=api,
)
system = System("shop", [service])


async def ask(mediator: Mediator, running: RunningSystem) -> None:
    reveal_type(await mediator.execute(PlaceOrder(())))  # R: uuid.UUID
    reveal_type(await mediator.ask(StatusOf(UUID(int=1))))  # R: tests.typing.cases.shop.Status
    reveal_type(await running.execute(PlaceOrder(())))  # R: uuid.UUID
    await mediator.ask(PlaceOrder(()))  # E: incompatible type "PlaceOrder"
    command = PlaceOrder(())
    command.lines = ()  # E: Property "lines" defined in "PlaceOrder" is read-only
    Line(1)  # E: Missing positional argument "quantity"
    Line("milk", 1)  # E: incompatible type "str"


def decide(order: Order) -> None:
    given(order, Placed(order.id, ())).when(Order.confirm).then(Confirmed(order.id))
    given(order).when(Order.confirm).raises(NotPending(Status.CONFIRMED))
    given(order).when(Order.confirm, 1)  # E: Too many arguments
    NotPending()  # E: Missing positional argument "status"
