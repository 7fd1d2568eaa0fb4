"""A fleet whose PostgreSQL fails over to its standby."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.fleet.fleets import Fleet, SettingsOf, back, running, settings_of, stocked
from tests.servers.pairs import own_pair

__all__ = ["settings_of"]


@pytest.mark.proof
@pytest.mark.timeout(240)
async def test_a_fleet_goes_on_on_the_promoted_server(settings_of: SettingsOf) -> None:
    """Each process that remembers the former history ends by itself; what was accepted before and since is done."""
    async with own_pair() as pair:
        settings = replace(
            settings_of({}), postgres=pair.either(pair.primary.url()), postgres_replica=pair.second.url()
        )
        async with running(settings) as fleet:
            baked = [await fleet.bake() for _ in range(3)]
            await stocked(settings.data, baked)
            pids = pids_of(fleet)
            await pair.cut()
            await pair.primary.kill()
            await pair.second.promote()
            for name, pid in pids.items():
                await fleet.until(back(fleet.managed(name), pid))
            baked += [await fleet.bake() for _ in range(3)]
            await stocked(settings.data, baked)
            assert (await fleet.request("GET", "/health/ready")).status == 200


def pids_of(fleet: Fleet) -> Mapping[str, int]:
    """The processes of its services."""
    pids = {name: fleet.managed(name).runnable.child.pid for name in ("baking", "selling")}
    return {name: pid for name, pid in pids.items() if pid is not None}
