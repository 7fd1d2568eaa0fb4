"""Several instances of a service receive one chain: whatever the broker gives to whom, nothing stays behind."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.workers.receiving import Inbox
from tests.workers.door import Door, a_door, bodies, carried


def two_of(door: Door) -> tuple[Inbox, Inbox]:
    """Two instances on one store."""
    first = door.inbox
    door.restart()
    return first, door.inbox


@pytest.mark.parametrize("who", ["first", "second", "a new one"])
async def test_what_came_early_to_one_is_made_ready_when_another_received_what_goes_before(
    tmp_path: Path, who: str
) -> None:
    """By whoever looks next, without the producer, which may have nothing of it left."""
    async with a_door(tmp_path) as door:
        first, second = two_of(door)
        await first.receive([carried(1)])
        await second.receive([carried(3)])  # reads the mark, and remembers it
        await first.receive([carried(2)])  # knows nothing of the third
        assert await door.mark() == 2
        if who == "a new one":
            door.restart()
        await {"first": first, "second": second, "a new one": door.inbox}[who].tend()
        if who == "first":  # what it remembers is right as far as it goes
            await second.tend()
        assert await door.mark() == 3
        assert await door.handled() == bodies(1, 2, 3)
        assert door.asked == []


async def test_the_next_message_makes_ready_too(tmp_path: Path) -> None:
    """An instance that has to read what is received anew sees what it can close."""
    async with a_door(tmp_path) as door:
        first, second = two_of(door)
        await first.receive([carried(1)])
        await second.receive([carried(3)])
        await first.receive([carried(2)])
        await second.receive([carried(5)])
        assert await door.mark() == 3
        await first.receive([carried(4)])
        await first.tend()
        await second.tend()
        assert await door.mark() == 5
        assert await door.handled() == bodies(1, 2, 3, 4, 5)


async def test_one_that_takes_over_forgets_what_it_knew(tmp_path: Path) -> None:
    """Others have received meanwhile, and some of it early."""
    async with a_door(tmp_path) as door:
        first, second = two_of(door)
        await first.receive([carried(1)])
        await second.receive([carried(2), carried(4)])
        first.forget()
        await first.receive([carried(3)])
        assert await door.mark() == 4


@settings(max_examples=40)
@given(st.data())
def test_however_messages_are_dealt_out_all_are_handled_in_order(data: st.DataObject) -> None:
    """Three instances, any order, doubled or not, looking now and then: once each has looked, nothing waits."""
    count = data.draw(st.integers(2, 8))
    order = data.draw(st.permutations(range(1, count + 1)))
    again = data.draw(st.lists(st.sampled_from(order), max_size=3))
    deals = [(data.draw(st.integers(0, 2)), seq, data.draw(st.booleans())) for seq in [*order, *again]]

    async def play(folder: Path) -> None:
        async with a_door(folder) as door:
            door.kept_by_producer = [carried(seq) for seq in range(1, count + 1)]  # where the chain begins
            members = [*two_of(door)]
            door.restart()
            members.append(door.inbox)
            for member, seq, looks in deals:
                await members[member].receive([carried(seq)])
                if looks:
                    await members[member].tend()
            for each in members:
                await each.tend()
            assert await door.mark() == count
            assert await door.handled() == bodies(*range(1, count + 1))

    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))
