"""Messages of the notes, as they stand in an inbox."""

from uuid import UUID

import msgspec

from colonnade.messages.envelope import Envelope
from tests.tenancy.houses import WORLD


def pinned(tenant: str, note: UUID, text: str) -> bytes:
    """The envelope of an event of the notes of `tenant`."""
    return enveloped(tenant, msgspec.json.encode({"note_id": note, "text": text}))


def enveloped(tenant: str, data: bytes) -> bytes:
    """The same with whatever `data`."""
    return Envelope(
        specversion="1.0",
        id=WORLD.ids.new(),
        source="notes",
        type="notes.Pinned",
        subject="k",
        time=WORLD.clock.now(),
        data=msgspec.Raw(data),
        correlationid=WORLD.ids.new(),
        tenant=tenant,
    ).encode()
