"""The commands with which the fulfilment saga tells an order how it ended."""

from uuid import UUID

from colonnade.messages import Command

__all__ = ["ConfirmOrder", "RejectOrder"]


class ConfirmOrder(Command):
    """All steps are done."""

    order_id: UUID


class RejectOrder(Command):
    """A step failed, and what was done is undone."""

    order_id: UUID
    code: str
    reason: str
