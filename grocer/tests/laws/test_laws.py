"""The laws of Grocer, on books of one order that is in order, and on the same books with one thing wrong."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import apsw
import msgspec
import pytest
from colonnade.messages import Event
from colonnade.messages.codec import MalformedMessage
from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.unit import Append, NewEvent, Unit
from colonnade.world import real_world

from grocer.inventory.domain.stock import GoodsReceived, GoodsReleased, GoodsReserved, GoodsReturned, GoodsSold
from grocer.kernel import Money
from grocer.laws import Books, Law, Verdict
from grocer.ordering.contracts import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderRejected
from grocer.payments.domain.payment import PaymentCaptured, PaymentRefunded
from grocer.processor.ledger import ChargeRequest, Ledger, RefundRequest

ORDER, CUSTOMER, OTHER, REQUEST = UUID(int=1), UUID(int=7), UUID(int=2), UUID(int=3)
SHELF, OF_ORDER = "Stock/340/55", f"Order/{ORDER}"
LINES = (OrderLine(55, 2, Money(Decimal("1.50"))),)
TOTAL = Money(Decimal("3.00"))

Record = tuple[str, str, Event | dict[str, str]]
"""The stream, the stored name and the event."""

PLACED: Record = (OF_ORDER, "ordering.OrderPlaced", OrderPlaced(ORDER, CUSTOMER, 340, LINES, TOTAL))
CONFIRMED: Record = (OF_ORDER, "ordering.OrderConfirmed", OrderConfirmed(ORDER, CUSTOMER, 340, LINES, TOTAL))
REJECTED: Record = (OF_ORDER, "ordering.OrderRejected", OrderRejected(ORDER, CUSTOMER, "no", "no"))
CANCELLED: Record = (OF_ORDER, "ordering.OrderCancelled", OrderCancelled(ORDER, CUSTOMER, 340, LINES, TOTAL, True))
FULFILLED: Record = (f"FulfilOrder/{ORDER}", "colonnade.SagaEnded", {"end": "COMPLETED"})
TAKEN_BACK: Record = (f"TakeOrderBack/{ORDER}", "colonnade.SagaEnded", {"end": "COMPLETED"})
RECEIVED: Record = (SHELF, "inventory.GoodsReceived", GoodsReceived(340, 55, 5))
RESERVED: Record = (SHELF, "inventory.GoodsReserved", GoodsReserved(340, 55, ORDER, 2))
NOTHING: Record = (SHELF, "inventory.GoodsReceived", GoodsReceived(340, 55, 0))
SOLD: Record = (SHELF, "inventory.GoodsSold", GoodsSold(340, 55, ORDER, 2))
RELEASED: Record = (SHELF, "inventory.GoodsReleased", GoodsReleased(340, 55, ORDER, 2))
RETURNED: Record = (SHELF, "inventory.GoodsReturned", GoodsReturned(340, 55, ORDER, 2))
CAPTURED: Record = (f"Payment/{ORDER}", "payments.PaymentCaptured", PaymentCaptured(ORDER, TOTAL))
REFUNDED: Record = (f"Payment/{ORDER}", "payments.PaymentRefunded", PaymentRefunded(ORDER, TOTAL))

IN_ORDER = [PLACED, CONFIRMED, FULFILLED, RECEIVED, RESERVED, SOLD, CAPTURED]


async def write(data: Path, records: list[Record], request: UUID = REQUEST) -> None:
    """Append `records`, which follow from `request`, to the logs of their services."""
    world = real_world()
    owners = {"Stock": "inventory", "Payment": "payments"}
    for service in ("ordering", "inventory", "payments"):
        store = await open_sqlite_store(data / f"{service}.sqlite3", world)
        for stream, name, event in records:
            if owners.get(stream.partition("/")[0], "ordering") == service:
                version = len(await store.log.stream(stream))
                new = NewEvent(world.ids.new(), name, 1, msgspec.json.encode(event))
                await store.commit(Unit(world.clock.micros(), request, effects=[Append(stream, version, [new])]))
        await store.close()


async def charge(data: Path, *keys: str, order_id: UUID = ORDER) -> None:
    """Charge the order at the card processor, once for each of `keys`."""
    with Ledger(data / "card-processor.sqlite3") as ledger:
        for key in keys:
            await ledger.charge(key, ChargeRequest("3.00", "USD", "card-7", str(order_id)), declined=False)


async def judged(data: Path, baskets: Mapping[UUID, UUID | None] | None = None) -> Verdict:
    """The verdict on the books in `data`, where customers were told what `baskets` says."""
    async with Books.open(data, real_world()) as books:
        return await books.judge(baskets)


def altered(file: Path, sql: str) -> None:
    """Change a database as nothing but a mistake would."""
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(sql)
    connection.close()


def broken(verdict: Verdict) -> list[Law]:
    """The laws that are broken, each once."""
    return list(dict.fromkeys(breach.law for breach in verdict.broken))


async def test_books_in_order_break_no_law(tmp_path: Path) -> None:
    """A confirmed order that was paid and handed out: every law holds, and the figures are its own."""
    await write(tmp_path, IN_ORDER)
    await charge(tmp_path, "a")
    verdict = await judged(tmp_path, {REQUEST: ORDER})
    assert (verdict.broken, verdict.unsettled) == ([], [])
    figures = verdict.figures
    assert (figures.orders, figures.settled, figures.shelves, figures.movements) == (1, 1, 1, 3)
    assert (figures.charges, figures.sold) == (1, 2)
    assert (figures.captured, figures.confirmed) == (TOTAL, TOTAL)


@pytest.mark.parametrize(
    ("records", "law"),
    [
        pytest.param([*IN_ORDER, SOLD], Law.GOODS, id="goods sold that were not set aside"),
        pytest.param([*IN_ORDER, RELEASED], Law.GOODS, id="goods released that were sold"),
        pytest.param([*IN_ORDER[:4], RESERVED, RESERVED, SOLD, CAPTURED], Law.GOODS, id="goods set aside twice"),
        pytest.param([PLACED, CONFIRMED, FULFILLED, RESERVED, SOLD, CAPTURED], Law.GOODS, id="goods from nowhere"),
        pytest.param([*IN_ORDER, RETURNED, RETURNED], Law.GOODS, id="goods returned twice"),
        pytest.param([*IN_ORDER[:3], NOTHING, *IN_ORDER[3:]], Law.GOODS, id="nothing received"),
        pytest.param([*IN_ORDER[:3], CAPTURED], Law.HANDED_OUT, id="confirmed and nothing sold"),
        pytest.param([PLACED, REJECTED, FULFILLED, RECEIVED, RESERVED], Law.HANDED_OUT, id="rejected, not released"),
        pytest.param([RECEIVED, RESERVED], Law.HANDED_OUT, id="goods set aside for nobody"),
        pytest.param([*IN_ORDER, CAPTURED], Law.CHARGES, id="captured twice"),
        pytest.param([*IN_ORDER, REFUNDED, REFUNDED], Law.TAKEN, id="more given back than taken"),
        pytest.param(IN_ORDER[:-1], Law.MONEY, id="confirmed and not paid"),
        pytest.param([*IN_ORDER, REFUNDED], Law.MONEY, id="confirmed and given back"),
        pytest.param([PLACED, REJECTED, FULFILLED, CAPTURED], Law.MONEY, id="rejected and paid"),
        pytest.param([*IN_ORDER, PLACED], Law.BASKETS, id="placed twice"),
        pytest.param(IN_ORDER[1:], Law.BASKETS, id="never placed"),
    ],
)
async def test_a_broken_law_is_named(tmp_path: Path, records: list[Record], law: Law) -> None:
    """One wrong thing in the books breaks its law, and the breach says where."""
    await write(tmp_path, records)
    verdict = await judged(tmp_path)
    assert law in broken(verdict)
    assert all(str(ORDER) in breach.of + breach.why or breach.of == SHELF for breach in verdict.broken)


async def test_the_processor_s_own_ledger_is_believed(tmp_path: Path) -> None:
    """Two charges of one order break a law, though payments knows of one; so does a charge that payments forgot."""
    await write(tmp_path, IN_ORDER)
    await charge(tmp_path, "a", "b")
    assert broken(await judged(tmp_path)) == [Law.CHARGES, Law.MONEY]
    await charge(tmp_path, "c", order_id=OTHER)
    assert any(str(OTHER) in breach.of for breach in (await judged(tmp_path)).broken)


async def test_what_was_captured_was_charged(tmp_path: Path) -> None:
    """Payments that say more than the processor's ledger does break a law before anything has settled."""
    await write(tmp_path, [PLACED, CAPTURED])
    await charge(tmp_path, "a", order_id=OTHER)
    assert Law.TAKEN in broken(await judged(tmp_path))


async def test_a_processor_that_gives_back_more_than_it_took_breaks_a_law(tmp_path: Path) -> None:
    """The ledger is not believed to keep its own rules."""
    await write(tmp_path, IN_ORDER)
    await charge(tmp_path, "a")
    altered(tmp_path / "card-processor.sqlite3", "UPDATE charges SET refunded_cents = 301")
    assert Law.TAKEN in broken(await judged(tmp_path))


async def test_an_event_that_is_gone_is_missed(tmp_path: Path) -> None:
    """A shelf whose events do not count up from one breaks the law of goods, whatever its sums say."""
    await write(tmp_path, [*IN_ORDER, RECEIVED, RECEIVED])
    altered(tmp_path / "inventory.sqlite3", f"DELETE FROM events WHERE stream = '{SHELF}' AND version = 4")
    [breach] = (await judged(tmp_path)).broken
    assert (breach.law, breach.of, breach.why) == (Law.GOODS, SHELF, "at event 5 event 4 of the shelf is missing")


async def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    """A ledger that cannot be read is named with the reason; nothing is judged without it."""
    await write(tmp_path, IN_ORDER)
    (tmp_path / "card-processor.sqlite3").write_bytes(b"no ledger" * 1_000)
    with pytest.raises(StoreFailed, match=r"card-processor.sqlite3 failed: .*not a database"):
        await judged(tmp_path)


async def test_an_order_that_was_taken_back_owes_nothing(tmp_path: Path) -> None:
    """Cancelled after it was confirmed: unsettled until it has been taken back, then goods and money are even."""
    await write(tmp_path, [*IN_ORDER, CANCELLED, REFUNDED, RETURNED])
    await charge(tmp_path, "a")
    with Ledger(tmp_path / "card-processor.sqlite3") as ledger:
        await ledger.refund("r", RefundRequest("3.00", "a"))
    assert [breach.law for breach in (await judged(tmp_path)).unsettled] == [Law.ENDS]
    await write(tmp_path, [TAKEN_BACK])
    verdict = await judged(tmp_path)
    assert (verdict.broken, verdict.unsettled) == ([], [])


@pytest.mark.parametrize(
    ("records", "why"),
    [
        pytest.param([PLACED], "fulfilment has not ended", id="saga under way"),
        pytest.param([PLACED, FULFILLED], "still pending", id="saga ended without a word"),
        pytest.param([*IN_ORDER[:5], CAPTURED], "still set aside", id="goods not handed out yet"),
        pytest.param(
            [PLACED, (FULFILLED[0], FULFILLED[1], {"end": "COMPENSATION_FAILED"})], "could not undo", id="saga stuck"
        ),
    ],
)
async def test_what_has_not_settled_is_named_and_breaks_nothing(
    tmp_path: Path, records: list[Record], why: str
) -> None:
    """An order on its way breaks no law, whatever it owes just now; it is named with what is still to come."""
    await write(tmp_path, records)
    verdict = await judged(tmp_path)
    assert verdict.broken == []
    assert [(breach.law, breach.of) for breach in verdict.unsettled] == [(Law.ENDS, f"order {ORDER}")]
    assert why in verdict.unsettled[0].why


async def test_an_accepted_order_that_is_not_there_breaks_a_law(tmp_path: Path) -> None:
    """What a customer was promised must be in the books."""
    await write(tmp_path, IN_ORDER)
    assert broken(await judged(tmp_path, {REQUEST: ORDER, OTHER: OTHER})) == [Law.BASKETS]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        pytest.param(OTHER, f"its basket is order {OTHER} already", id="ordered twice"),
        pytest.param(None, "it was refused, and is there", id="refused and ordered"),
    ],
)
async def test_an_order_that_nobody_was_promised_breaks_a_law(tmp_path: Path, told: UUID | None, why: str) -> None:
    """A basket is one order at most, the one its customer was told of: others are found by the request's id."""
    await write(tmp_path, IN_ORDER)
    verdict = await judged(tmp_path, {REQUEST: told})
    assert [(breach.law, breach.why) for breach in verdict.broken if str(ORDER) in breach.of] == [(Law.BASKETS, why)]


async def test_books_are_read_on(tmp_path: Path) -> None:
    """Judged again, books know what was written meanwhile, and count nothing twice."""
    await write(tmp_path, IN_ORDER[:-1])
    async with Books.open(tmp_path, real_world()) as books:
        assert broken(await books.judge()) == [Law.MONEY]
        await write(tmp_path, [CAPTURED])
        verdict = await books.judge()
    assert (verdict.broken, verdict.figures.orders) == ([], 1)


async def test_an_event_that_is_not_what_it_says_is_told(tmp_path: Path) -> None:
    """Nothing is passed over: data that does not fit its name ends the judging with that name."""
    await write(tmp_path, IN_ORDER)
    altered(tmp_path / "inventory.sqlite3", "UPDATE events SET data = CAST('[]' AS BLOB) WHERE position = 1")
    with pytest.raises(MalformedMessage, match=r"not a inventory.GoodsReceived"):
        await judged(tmp_path)
