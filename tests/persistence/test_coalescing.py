"""Units that wait at the same time are written together; where a server writes, many of them in two halves."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from colonnade.persistence.coalescing import BATCH_UNITS, MANY_UNITS, Coalescer, Written
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import Unit

HALF = MANY_UNITS // 2


@pytest.mark.parametrize(
    ("followers", "in_halves", "batches"),
    [
        ([0] * (MANY_UNITS - 1), True, [MANY_UNITS - 1]),
        ([0] * MANY_UNITS, True, [HALF, HALF]),
        ([0] * MANY_UNITS, False, [MANY_UNITS]),
        ([0] * (BATCH_UNITS + 2), True, [BATCH_UNITS // 2, BATCH_UNITS // 2 + 2]),
        ([0] * (2 * BATCH_UNITS), False, [BATCH_UNITS, BATCH_UNITS]),
        ([MANY_UNITS], True, [1]),
        ([HALF - 1, HALF - 1], True, [1, 1]),
        ([0, MANY_UNITS], True, [2]),
        ([MANY_UNITS, 0], True, [1, 1]),
    ],
)
async def test_many_that_come_together_go_in_halves(
    followers: Sequence[int], in_halves: bool, batches: Sequence[int]
) -> None:
    """Those that join others counted; each is answered with what became of it, in the order in which they came."""
    written: list[int] = []
    count = 0

    async def write(units: Sequence[Unit]) -> Written:
        nonlocal count
        written.append(len(units))
        await asyncio.sleep(0)
        first, count = count, count + len(units)
        return Written([Committed(first + number) for number in range(len(units))], Touched(0))

    coalescer = Coalescer(write, lambda _: None, in_halves=in_halves)
    units = [
        Unit(number, UUID(int=1), followers=[Unit(1, UUID(int=2))] * more) for number, more in enumerate(followers)
    ]
    answers = await asyncio.gather(*(coalescer.commit(unit) for unit in units))
    assert written == list(batches)
    assert [answer.position for answer in answers] == list(range(len(units)))


async def test_what_comes_while_a_batch_is_written_goes_together() -> None:
    """There is work for both sides then: it is not parted once more."""
    written: list[int] = []
    may_end = asyncio.Event()

    async def write(units: Sequence[Unit]) -> Written:
        written.append(len(units))
        await may_end.wait()
        return Written([Committed(0)] * len(units), Touched(0))

    coalescer = Coalescer(write, lambda _: None, in_halves=True)
    first = coalescer.commit(Unit(1, UUID(int=1)))
    await asyncio.sleep(0)
    rest = [coalescer.commit(Unit(1, UUID(int=1))) for _ in range(MANY_UNITS)]
    may_end.set()
    await asyncio.gather(first, *rest)
    assert written == [1, MANY_UNITS]
