"""Units that wait at the same time are written together."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from colonnade.persistence.coalescing import BATCH_UNITS, Coalescer, Written
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import Unit


async def test_what_comes_while_a_batch_is_written_goes_together_up_to_a_bound() -> None:
    """Each is answered with what became of it, in the order in which they came."""
    written: list[int] = []
    may_end = asyncio.Event()
    count = 0

    async def write(units: Sequence[Unit]) -> Written:
        nonlocal count
        written.append(len(units))
        await may_end.wait()
        first, count = count, count + len(units)
        return Written([Committed(first + number) for number in range(len(units))], Touched(0))

    coalescer = Coalescer(write, lambda _: None)
    first = coalescer.commit(Unit(1, UUID(int=1)))
    await asyncio.sleep(0)
    rest = [coalescer.commit(Unit(1, UUID(int=1))) for _ in range(BATCH_UNITS + 2)]
    may_end.set()
    answers = await asyncio.gather(first, *rest)
    assert written == [1, BATCH_UNITS, 2]
    assert [answer.position for answer in answers] == list(range(BATCH_UNITS + 3))
