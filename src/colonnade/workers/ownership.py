"""Work that one instance does for all has an owner, or is named: nobody would notice that nobody does it."""

from collections.abc import Collection, Sequence

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import Leases
from colonnade.world import World

__all__ = ["LOOK_EVERY_SECONDS", "UNOWNED_SECONDS", "Ownership"]

LOOK_EVERY_SECONDS = 2.0

UNOWNED_SECONDS = 10.0
"""Twice as long as the lease of an instance that was killed in a fleet lasts."""


class Ownership:
    """Looks now and then whether the leases `names` of one service are held by somebody."""

    def __init__(self, service: str, names: Collection[str], leases: Leases, world: World) -> None:
        self._service = service
        self._names = names
        self._leases = leases
        self._world = world
        self._unowned: dict[str, float] = {}
        """Since when, in monotonic seconds."""

    def health(self) -> Sequence[HealthState]:
        """What nobody does."""
        now = self._world.clock.monotonic()
        long = {name: now - since for name, since in self._unowned.items() if now - since >= UNOWNED_SECONDS}
        if not long:
            return ()
        detail = (
            f"Nobody does what the leases {', '.join(sorted(long))} are for, since {max(long.values()):.0f} s; "
            "see whether all instances have this code and what keeps them from the table of leases."
        )
        return (HealthState(f"{self._service}.unowned", Severity.DEGRADED, detail),)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            held = await self._leases.held()
            now = self._world.clock.monotonic()
            self._unowned = {name: self._unowned.get(name, now) for name in self._names if name not in held}
            await self._world.sleep(LOOK_EVERY_SECONDS)
