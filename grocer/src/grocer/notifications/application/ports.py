"""What notifications needs of the outside."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

__all__ = ["Mail", "Mailer"]


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail to a customer; `id` is the same however often it is sent."""

    id: UUID
    customer_id: UUID
    subject: str
    text: str


class Mailer(Protocol):
    """Sends e-mail."""

    async def send(self, mail: Mail) -> None:
        """Hand `mail` over; a mail of the same id replaces the first, or is recognised by its Message-ID."""
