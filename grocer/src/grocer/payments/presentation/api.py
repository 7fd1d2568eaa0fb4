"""The endpoints of payments."""

from uuid import UUID

from colonnade.presentation import Api, Get

from grocer.payments.application.queries import PaymentsOfOrder

api = Api(
    Get("/payments", PaymentsOfOrder, example=PaymentsOfOrder(UUID("01942f3e-7c00-7000-8000-000000000001"))),
)
