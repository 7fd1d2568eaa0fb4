"""Ordering: orders, and the saga that fulfils them."""

from colonnade.system import Service

from grocer.ordering import contracts
from grocer.ordering.application.fulfilment import FulfilOrder, TakeOrderBack
from grocer.ordering.application.orders import (
    CancelOrderHandler,
    ConfirmOrderHandler,
    PlaceOrderHandler,
    RejectOrderHandler,
)
from grocer.ordering.infrastructure.history import OrderByIdHandler, OrderHistory, OrdersByCustomerHandler
from grocer.ordering.infrastructure.prices import prices
from grocer.ordering.presentation.api import api

__all__ = ["ordering"]

ordering = Service(
    "ordering",
    contracts=contracts,
    handlers=[
        PlaceOrderHandler,
        ConfirmOrderHandler,
        RejectOrderHandler,
        CancelOrderHandler,
        OrderByIdHandler,
        OrdersByCustomerHandler,
    ],
    sagas=[FulfilOrder, TakeOrderBack],
    projections=[OrderHistory],
    providers=[prices],
    api=api,
)
