"""The backlog of one tenant, and the fresh messages of the other."""

from uuid import UUID

from colonnade.persistence.unit import Deliver, Unit
from tests.tenancy.houses import WORLD, House, Street
from tests.tenancy.messages import pinned

BACKLOG = 2_000


async def test_a_backlog_of_one_does_not_hold_up_the_other(both: Street) -> None:
    """What the other sends meanwhile has gone all its way, saga and archive, before half of the backlog is done."""
    await _flood(both.acme)
    for number in range(5):
        assert (await both.bolt.pin(f"bolt {number}", UUID(int=number))).status == 200
    await both.bolt.inside.settled()
    left = await both.acme.inside.runtime.services["archive"].store.inbox.unhandled()
    assert len((await both.bolt.get("filed")).json()) == 5
    assert left > BACKLOG / 2
    await both.all.settled()


async def _flood(house: House) -> None:
    """Let many events wait for the clerk of the archive, each in a line of its own."""
    store = house.inside.runtime.services["archive"].store
    effects = [
        Deliver("subscriber:Clerk", f"{number}", pinned(house.name, UUID(int=number), "flood"))
        for number in range(BACKLOG)
    ]
    for first in range(0, BACKLOG, 500):
        unit = Unit(WORLD.clock.micros(), WORLD.ids.new(), effects=[*effects[first : first + 500]])
        await store.commit(unit)
