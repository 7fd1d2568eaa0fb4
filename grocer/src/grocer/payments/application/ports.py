"""What payments needs of the outside."""

from typing import Protocol
from uuid import UUID

from grocer.kernel import Money

__all__ = ["CardProcessor"]


class CardProcessor(Protocol):
    """Charges cards. Calls with one key have one effect; a call that raises has an unknown one, and is made again."""

    async def charge(self, key: str, customer_id: UUID, amount: Money) -> bool:
        """Take `amount` from the customer's card; False when it is declined."""

    async def refund(self, key: str, charge_key: str, amount: Money) -> bool:
        """Give back what the charge of `charge_key` took; False when it took nothing."""
