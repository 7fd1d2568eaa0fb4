"""The endpoints of ordering."""

from uuid import UUID

from colonnade.presentation import Api, Cache, Get, Post

from grocer.ordering.application.orders import CancelOrder, PlaceOrder
from grocer.ordering.application.ports import RequestedLine
from grocer.ordering.application.queries import OrderById, OrdersByCustomer

_CUSTOMER = UUID(int=64)
_ORDER = UUID("01942f3e-7c00-7000-8000-000000000001")

api = Api(
    Post(
        "/orders",
        PlaceOrder,
        creates="/orders/{id}",
        example=PlaceOrder(_CUSTOMER, 340, (RequestedLine(9859128, 1), RequestedLine(15972074, 1))),
    ),
    Get("/orders/{order_id}", OrderById, example=OrderById(_ORDER)),
    Get("/orders", OrdersByCustomer, cache=Cache(seconds=5), example=OrdersByCustomer(_CUSTOMER)),
    Post("/orders/{order_id}/cancel", CancelOrder, example=CancelOrder(_ORDER)),
)
