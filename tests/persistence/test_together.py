"""Reads that are asked for together."""

import asyncio
from collections.abc import Sequence

import pytest

from colonnade.persistence.postgres.together import Together


@pytest.mark.parametrize(
    ("asking", "idle", "reads"),
    [
        (23, True, [23]),
        (24, True, [12, 12]),
        (33, True, [17, 16]),
        (24, False, [24]),
        (130, False, [64, 64, 2]),
        (130, True, [64, 64, 2]),
    ],
)
async def test_many_are_answered_in_halves_where_the_server_is_idle(asking: int, idle: bool, reads: list[int]) -> None:
    """Few, or while it has something to do, at once; and each has the answer to its question."""
    begun: list[int] = []

    async def read(numbers: Sequence[int]) -> Sequence[str]:
        begun.append(len(numbers))
        await asyncio.sleep(0)
        return [f"answer {number}" for number in numbers]

    together = Together(read, lambda: idle)
    answers = await asyncio.gather(*(together.ask(number) for number in range(asking)))
    assert begun == reads
    assert answers == [f"answer {number}" for number in range(asking)]
