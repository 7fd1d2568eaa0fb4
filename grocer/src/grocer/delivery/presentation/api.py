"""The endpoints of delivery."""

from uuid import UUID

from colonnade.presentation import Api, Get

from grocer.delivery.application.queries import ShipmentsOfOrder

api = Api(
    Get("/shipments", ShipmentsOfOrder, example=ShipmentsOfOrder(UUID("01942f3e-7c00-7000-8000-000000000001"))),
)
