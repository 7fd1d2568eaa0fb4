"""Orders, payments, shipments and notifications by themselves."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import pytest
from colonnade.domain import Refusal
from colonnade.testing import given

from grocer.delivery.domain.shipment import Shipment, ShipmentBooked, ShipmentCancelled
from grocer.kernel import Money
from grocer.notifications.domain.notification import Notification, Occasion
from grocer.ordering.contracts import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderRejected
from grocer.ordering.domain.order import (
    EmptyOrder,
    Order,
    OrderNotPending,
    OrderOver,
    OrderStatus,
    ProductNamedTwice,
)
from grocer.payments.domain.payment import (
    Payment,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentRequested,
    RefundRequested,
)

ORDER, CUSTOMER = UUID(int=1), UUID(int=7)
LINES = (OrderLine(55, 3, Money(Decimal("0.333"))), OrderLine(66, 2, Money(Decimal("1.50"))))
TOTAL = Money(Decimal("4.00"))

placed = OrderPlaced(ORDER, CUSTOMER, 340, LINES, TOTAL)
confirmed = OrderConfirmed(ORDER, CUSTOMER, 340, LINES, TOTAL)
rejected = OrderRejected(ORDER, CUSTOMER, "OutOfStock", "reserve goods: none left")
cancelled = OrderCancelled(ORDER, CUSTOMER, 340, LINES, TOTAL, confirmed=False)

OrderHistory = Sequence[OrderPlaced | OrderConfirmed | OrderRejected | OrderCancelled]


def test_an_order_costs_the_sum_of_its_lines_each_in_whole_cents() -> None:
    """3 x 0.333 is 1.00, half to even, before lines are added."""
    order = Order.place(ORDER, CUSTOMER, 340, LINES)
    assert list(order.recorded) == [placed]
    assert order.status is OrderStatus.PENDING


@pytest.mark.parametrize(("lines", "refusal"), [((), EmptyOrder), ((LINES[0], LINES[0]), ProductNamedTwice)])
def test_an_order_has_lines_each_of_another_product(lines: Sequence[OrderLine], refusal: type[Refusal]) -> None:
    """An empty order, or one that names a product twice, is none."""
    with pytest.raises(refusal):
        Order.place(ORDER, CUSTOMER, 340, lines)


def test_a_pending_order_ends_in_one_of_three_ways() -> None:
    """Confirmed and cancelled tell all that others need; rejected tells why."""
    given(Order(ORDER), placed).when(Order.confirm).then(confirmed)
    given(Order(ORDER), placed).when(Order.reject, "OutOfStock", "reserve goods: none left").then(rejected)
    given(Order(ORDER), placed).when(Order.cancel).then(cancelled)
    given(Order(ORDER), placed, confirmed).when(Order.cancel).then(
        OrderCancelled(ORDER, CUSTOMER, 340, LINES, TOTAL, confirmed=True)
    )


@pytest.mark.parametrize(
    ("history", "status"),
    [
        ([placed, confirmed], OrderStatus.CONFIRMED),
        ([placed, rejected], OrderStatus.REJECTED),
        ([placed, cancelled], OrderStatus.CANCELLED),
    ],
)
def test_only_a_pending_order_is_confirmed(history: OrderHistory, status: OrderStatus) -> None:
    """From any other status it is refused, with the status."""
    given(Order(ORDER), *history).when(Order.confirm).raises(OrderNotPending(ORDER, status))


@pytest.mark.parametrize(
    ("history", "status"),
    [([placed, rejected], OrderStatus.REJECTED), ([placed, cancelled], OrderStatus.CANCELLED)],
)
def test_an_order_that_is_over_is_not_cancelled(history: OrderHistory, status: OrderStatus) -> None:
    """Rejected, or cancelled before, it is refused, with the status."""
    given(Order(ORDER), *history).when(Order.cancel).raises(OrderOver(ORDER, status))


def test_a_cancelled_order_stays_cancelled_when_its_fulfilment_fails() -> None:
    """The saga that is told to stop rejects in the end; the customer's word stands."""
    given(Order(ORDER), placed, cancelled).when(Order.reject, "cancelled", "").then()
    given(Order(ORDER), placed, confirmed).when(Order.reject, "late", "").raises(OrderNotPending)


requested = PaymentRequested(ORDER, CUSTOMER, TOTAL)
captured, declined = PaymentCaptured(ORDER, TOTAL), PaymentDeclined(ORDER)
asked_back, refunded = RefundRequested(ORDER, TOTAL), PaymentRefunded(ORDER, TOTAL)


def test_a_payment_is_captured_or_declined() -> None:
    """What the processor says is recorded, with the amount asked for."""
    assert list(Payment.request(ORDER, CUSTOMER, TOTAL).recorded) == [requested]
    given(Payment(ORDER), requested).when(Payment.capture).then(captured)
    given(Payment(ORDER), requested).when(Payment.decline).then(declined)


def test_money_is_asked_back_once_and_where_it_may_have_been_taken() -> None:
    """Also while the outcome is unknown; not after a decline, and not again."""
    given(Payment(ORDER), requested, captured).when(Payment.request_refund).then(asked_back)
    given(Payment(ORDER), requested).when(Payment.request_refund).then(asked_back)
    given(Payment(ORDER), requested, declined).when(Payment.request_refund).then()
    given(Payment(ORDER), requested, captured, asked_back).when(Payment.request_refund).then()
    given(Payment(ORDER), requested, captured, asked_back, refunded).when(Payment.request_refund).then()


def test_a_late_capture_does_not_forget_the_refund() -> None:
    """Charged after the refund was asked for: the refund still comes, and ends it."""
    payment = Payment(ORDER)
    payment.replay([requested, asked_back, captured])
    assert (payment.status, payment.captured) == ("refund requested", True)
    payment.refund(TOTAL)
    assert list(payment.recorded) == [refunded]
    assert payment.status == "refunded"


def test_a_shipment_is_called_off_once() -> None:
    """Booked, then cancelled; cancelling again does nothing."""
    booked = ShipmentBooked(ORDER, CUSTOMER, 340)
    assert list(Shipment.book(ORDER, CUSTOMER, 340).recorded) == [booked]
    given(Shipment(ORDER), booked).when(Shipment.cancel).then(ShipmentCancelled(ORDER))
    given(Shipment(ORDER), booked, ShipmentCancelled(ORDER)).when(Shipment.cancel).then()


def test_a_notification_is_on_record() -> None:
    """Who was told of which occasion."""
    notification = Notification.send(UUID(int=9), ORDER, CUSTOMER, Occasion.REJECTED)
    (sent,) = notification.recorded
    assert (sent.order_id, sent.customer_id, sent.occasion) == (ORDER, CUSTOMER, Occasion.REJECTED)  # type: ignore[attr-defined]
    assert notification.sent
