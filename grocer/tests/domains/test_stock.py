"""The stock of one product in one store."""

from uuid import UUID

import pytest
from colonnade.testing import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from grocer.inventory.domain.stock import (
    GoodsReceived,
    GoodsReleased,
    GoodsReserved,
    GoodsReturned,
    GoodsSold,
    OutOfStock,
    Stock,
)

ORDER, OTHER = UUID(int=1), UUID(int=2)
KEY = "340/55"

received = GoodsReceived(340, 55, 5)
reserved = GoodsReserved(340, 55, ORDER, 2)
sold = GoodsSold(340, 55, ORDER, 2)
released = GoodsReleased(340, 55, ORDER, 2)


def test_goods_are_set_aside() -> None:
    """As many as there are may be reserved."""
    given(Stock(KEY), received).when(Stock.reserve, ORDER, 5).then(GoodsReserved(340, 55, ORDER, 5))


def test_more_than_there_is_cannot_be_set_aside() -> None:
    """What others have reserved is not on hand; the refusal tells both numbers."""
    given(Stock(KEY), received, reserved).when(Stock.reserve, OTHER, 4).raises(OutOfStock(340, 55, 4, 3))


def test_asking_twice_reserves_once() -> None:
    """A step of a saga that is asked for again does nothing more."""
    given(Stock(KEY), received, reserved).when(Stock.reserve, ORDER, 2).then()


@pytest.mark.parametrize("undo", [Stock.release, Stock.sell])
def test_nothing_is_released_or_sold_that_was_not_set_aside(undo: object) -> None:
    """Before the reservation, and after it is over, there is nothing to do."""
    method = Stock.release if undo is Stock.release else Stock.sell
    given(Stock(KEY), received).when(method, ORDER).then()
    given(Stock(KEY), received, reserved, sold).when(method, ORDER).then()
    given(Stock(KEY), received, reserved, released).when(method, ORDER).then()


def test_goods_go_back_or_leave() -> None:
    """A reservation ends as a release or as a sale, of all that was set aside."""
    given(Stock(KEY), received, reserved).when(Stock.release, ORDER).then(released)
    given(Stock(KEY), received, reserved).when(Stock.sell, ORDER).then(sold)


def test_goods_that_were_sold_come_back() -> None:
    """Taking an order back returns what was sold, or releases what was still set aside."""
    given(Stock(KEY), received, reserved, sold).when(Stock.take_back, ORDER, 2).then(GoodsReturned(340, 55, ORDER, 2))
    given(Stock(KEY), received, reserved).when(Stock.take_back, ORDER, 2).then(released)


def test_goods_are_taken_back_once() -> None:
    """Asked again, for goods that came back or that never left, it does nothing more; a new sale comes back again."""
    returned = GoodsReturned(340, 55, ORDER, 2)
    given(Stock(KEY), received, reserved, sold, returned).when(Stock.take_back, ORDER, 2).then()
    given(Stock(KEY), received, reserved, released).when(Stock.take_back, ORDER, 2).then()
    given(Stock(KEY), received, reserved, sold, returned, reserved, sold).when(Stock.take_back, ORDER, 2).then(returned)


def test_shelves_are_filled_up_to_a_level() -> None:
    """Only what is missing arrives; a fuller shelf is left alone."""
    given(Stock(KEY), received, reserved).when(Stock.fill_to, 5).then(GoodsReceived(340, 55, 2))
    given(Stock(KEY), received).when(Stock.fill_to, 5).then()
    given(Stock(KEY), received).when(Stock.fill_to, 3).then()


class AnyDay(RuleBasedStateMachine):
    """Whatever is asked of a shelf, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.stock = Stock(KEY)
        self.reservations: dict[UUID, int] = {}

    @rule(level=st.integers(0, 20))
    def fill(self, level: int) -> None:
        """Suppliers come."""
        self.stock.fill_to(level)

    @rule(order=st.integers(1, 4), quantity=st.integers(1, 8))
    def reserve(self, order: int, quantity: int) -> None:
        """A customer orders."""
        on_hand = self.stock.on_hand
        if UUID(int=order) not in self.stock.reserved and quantity > on_hand:
            with pytest.raises(OutOfStock) as refused:
                self.stock.reserve(UUID(int=order), quantity)
            assert (refused.value.wanted, refused.value.on_hand) == (quantity, on_hand)
        else:
            self.stock.reserve(UUID(int=order), quantity)
            self.reservations[UUID(int=order)] = self.stock.reserved[UUID(int=order)]

    @rule(order=st.integers(1, 4))
    def release(self, order: int) -> None:
        """An order is given up."""
        self.stock.release(UUID(int=order))

    @rule(order=st.integers(1, 4))
    def sell(self, order: int) -> None:
        """An order is confirmed."""
        self.stock.sell(UUID(int=order))

    @precondition(lambda self: self.reservations)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        """An order that there was is taken back, perhaps once more."""
        order = data.draw(st.sampled_from([*self.reservations]))
        self.stock.take_back(order, self.reservations[order])

    @invariant()
    def all_goods_are_accounted_for(self) -> None:
        """On hand + reserved + sold = received, by the events, and nothing is below zero."""
        came = sum(event.quantity for event in self.stock.recorded if isinstance(event, GoodsReceived))
        went = sum(event.quantity for event in self.stock.recorded if isinstance(event, GoodsSold))
        went -= sum(event.quantity for event in self.stock.recorded if isinstance(event, GoodsReturned))
        assert went >= 0
        assert self.stock.on_hand + sum(self.stock.reserved.values()) + went == came
        assert self.stock.on_hand >= 0
        again = Stock(KEY)
        again.replay(list(self.stock.recorded))  # type: ignore[arg-type]
        assert (again.on_hand, again.reserved, again.back) == (self.stock.on_hand, self.stock.reserved, self.stock.back)


TestAnyDay = AnyDay.TestCase
