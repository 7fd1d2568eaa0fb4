"""Payments: taking and giving back money for orders."""

from colonnade.system import Service

from grocer.payments import contracts
from grocer.payments.application.payments import (
    AskCardProcessor,
    RecordChargeHandler,
    RecordRefundHandler,
    RefundPaymentHandler,
    TakePaymentHandler,
)
from grocer.payments.infrastructure.ledger import Payments, PaymentsOfOrderHandler
from grocer.payments.infrastructure.processor import card_processor
from grocer.payments.presentation.api import api

__all__ = ["payments"]

payments = Service(
    "payments",
    contracts=contracts,
    handlers=[
        TakePaymentHandler,
        RefundPaymentHandler,
        RecordChargeHandler,
        RecordRefundHandler,
        PaymentsOfOrderHandler,
    ],
    projections=[Payments],
    subscribers=[AskCardProcessor],
    providers=[card_processor],
    api=api,
)
