"""The processor's books: what was charged and refunded, on disk before it is answered."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, NamedTuple, Self

import apsw
import msgspec

from grocer.processor.group_commit import GroupCommit

__all__ = [
    "AlreadyRefunded", "Charge", "ChargeDeclined", "ChargeRequest", "KeyReused", "Ledger", "Recorded", "Refund",
    "RefundRequest", "RefusedEntry", "UnknownCharge",
]  # fmt: skip

Amount = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,8})\.[0-9]{2}\Z")]
"""Dollars and cents, like 12.34."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
    position INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    reference TEXT NOT NULL,
    cents INTEGER NOT NULL CHECK (cents > 0),
    currency TEXT NOT NULL,
    card TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('succeeded', 'declined')),
    refunded_cents INTEGER NOT NULL DEFAULT 0 CHECK (refunded_cents BETWEEN 0 AND cents)
) STRICT;
CREATE TABLE IF NOT EXISTS refunds (
    position INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    charge TEXT NOT NULL REFERENCES charges (key),
    cents INTEGER NOT NULL CHECK (cents > 0)
) STRICT;
"""
_CHARGE = "SELECT position, key, reference, cents, currency, card, status, refunded_cents FROM charges "


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: Amount

    def __post_init__(self) -> None:
        if cents_of(self.amount) == 0:
            raise ValueError("`amount` is 0.00: there is nothing to do")


class ChargeRequest(_Entry, frozen=True, forbid_unknown_fields=True):
    """What a merchant asks for; `reference` is the merchant's own name for what is paid, such as an order's id."""

    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    card: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class RefundRequest(_Entry, frozen=True, forbid_unknown_fields=True):
    """What a merchant gives back; `charge` is the key of the charge."""

    charge: str


class Charge(msgspec.Struct, frozen=True):
    """A charge as it stands; amounts are like 12.34, `position` is its place in the ledger."""

    position: int
    key: str
    reference: str
    amount: str
    currency: str
    card: str
    status: Literal["succeeded", "declined"]
    refunded: str


class Refund(msgspec.Struct, frozen=True):
    """A refund of a charge, or of a part of it."""

    position: int
    key: str
    charge: str
    amount: str


class Recorded(NamedTuple):
    """A charge, and whether this very request made it."""

    charge: Charge
    is_new: bool


class RefusedEntry(Exception):
    """An entry that the ledger does not make; it has written nothing."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class KeyReused(RefusedEntry):
    """The key belongs to an earlier request that said something else."""

    def __str__(self) -> str:
        return f"The key {self.key} was used for another request; use a new key for a new request."


class UnknownCharge(RefusedEntry):
    """There is no charge with that key."""

    def __str__(self) -> str:
        return f"There is no charge {self.key}: nothing was charged under that key."


class ChargeDeclined(RefusedEntry):
    """A declined charge took no money that could be given back."""

    def __str__(self) -> str:
        return f"The charge {self.key} was declined: there is nothing to give back."


class AlreadyRefunded(RefusedEntry):
    """More would be given back than was taken."""

    def __init__(self, key: str, amount: str, left: str) -> None:
        super().__init__(key)
        self.amount, self.left = amount, left

    def __str__(self) -> str:
        return f"Of the charge {self.key}, {self.left} is left to give back, not {self.amount}."


class Ledger:
    """Charges and refunds by key, in SQLite (WAL, synchronous FULL): what it has returned survives a kill.

    To be entered and left once, inside a running event loop. Opening raises `apsw.Error` when the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        writer = _connect(file)
        writer.execute(_SCHEMA)
        self._reader = _connect(file)
        self._connections = (self._reader, writer)
        self._writer = GroupCommit(writer, RefusedEntry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        for connection in self._connections:
            connection.close()

    async def charge(self, key: str, request: ChargeRequest, *, declined: bool) -> Recorded:
        """The charge of that key, made now if there is none yet; raises `KeyReused`.

        `declined` is what becomes of it if it is made now: of an existing one nothing is changed.
        """
        return await self._writer.submit(lambda connection: _charge(connection, key, request, declined))

    async def refund(self, key: str, request: RefundRequest) -> Refund:
        """The refund of that key, made now if there is none yet.

        Raises `KeyReused`, `UnknownCharge`, `ChargeDeclined` or `AlreadyRefunded`.
        """
        return await self._writer.submit(lambda connection: _refund(connection, key, request))

    def find(self, key: str) -> Charge | None:
        """The charge of that key."""
        return _find(self._reader, key)

    def page(self, after: int, limit: int) -> Sequence[Charge]:
        """At most `limit` charges behind the position `after`, in the order in which they were made."""
        rows = self._reader.execute(_CHARGE + "WHERE position > ? ORDER BY position LIMIT ?", (after, limit))
        return [_charge_of(row) for row in rows]


def cents_of(amount: str) -> int:
    """The cents in an amount like 12.34."""
    return int(amount.replace(".", ""))


def _amount_of(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _connect(file: Path) -> apsw.Connection:
    connection = apsw.Connection(str(file))
    connection.set_busy_timeout(5_000)  # milliseconds; a killed processor's file may be its successor's for a moment
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}").fetchall()  # apsw stops at a statement's first row until it is fetched
    return connection


def _charge(connection: apsw.Connection, key: str, request: ChargeRequest, declined: bool) -> Recorded:
    status: Literal["succeeded", "declined"] = "declined" if declined else "succeeded"
    made = connection.execute(
        "INSERT INTO charges (key, reference, cents, currency, card, status) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (key) DO NOTHING RETURNING position",
        (key, request.reference, cents_of(request.amount), request.currency, request.card, status),
    ).get
    if made is not None:
        charge = Charge(made, key, request.reference, request.amount, request.currency, request.card, status, "0.00")
        return Recorded(charge, is_new=True)
    charge = _existing(connection, key)
    if ChargeRequest(charge.amount, charge.currency, charge.card, charge.reference) != request:
        raise KeyReused(key)
    return Recorded(charge, is_new=False)


def _refund(connection: apsw.Connection, key: str, request: RefundRequest) -> Refund:
    earlier = connection.execute("SELECT position, charge, cents FROM refunds WHERE key = ?", (key,)).fetchone()
    if earlier is not None:
        position, charge_key, cents = earlier
        if (charge_key, _amount_of(cents)) != (request.charge, request.amount):
            raise KeyReused(key)
        return Refund(position, key, charge_key, request.amount)
    charge = _existing(connection, request.charge)
    if charge.status == "declined":
        raise ChargeDeclined(charge.key)
    cents, left = cents_of(request.amount), cents_of(charge.amount) - cents_of(charge.refunded)
    if cents > left:
        raise AlreadyRefunded(charge.key, request.amount, _amount_of(left))
    connection.execute(
        "UPDATE charges SET refunded_cents = refunded_cents + ? WHERE position = ?", (cents, charge.position)
    )
    position = connection.execute(
        "INSERT INTO refunds (key, charge, cents) VALUES (?, ?, ?) RETURNING position", (key, charge.key, cents)
    ).get
    return Refund(position, key, charge.key, request.amount)


def _existing(connection: apsw.Connection, key: str) -> Charge:
    charge = _find(connection, key)
    if charge is None:
        raise UnknownCharge(key)
    return charge


def _find(connection: apsw.Connection, key: str) -> Charge | None:
    row = connection.execute(_CHARGE + "WHERE key = ?", (key,)).fetchone()
    return None if row is None else _charge_of(row)


def _charge_of(row: tuple[Any, ...]) -> Charge:  # Any: a row of whatever SQLite holds
    position, key, reference, cents, currency, card, status, refunded_cents = row
    return Charge(position, key, reference, _amount_of(cents), currency, card, status, _amount_of(refunded_cents))
