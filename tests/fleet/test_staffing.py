"""Instances of a fleet's services: they share their work, hang, die, come and go; nobody who asks need know."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from colonnade.discovery.files import LOOK_SECONDS
from colonnade.system.admin.operations import (
    ListProjections,
    Operation,
    ReplaceInstances,
    ScaleService,
)
from colonnade.system.admin.reports import Failed, Finished, Progress, Report
from colonnade.system.admin.socket import ask_host
from colonnade.system.hosts.fleet import watching
from colonnade.system.hosts.fleet.managed import State
from tests.fleet.fleets import JSON, WORLD, Fleet, SettingsOf, back, running, stocked

PAUSE_SECONDS = 0.05
"""Between two requests: starting processes need the machine too."""


async def asked(folder: Path, operation: Operation) -> list[Report]:
    """All that the fleet's host tells about an operation, asked from a thread as another process would."""
    return await asyncio.to_thread(lambda: list(ask_host(folder, operation)))


@asynccontextmanager
async def baking_meanwhile(fleet: Fleet, baked: list[str]) -> AsyncIterator[None]:
    """Orders bread while the block runs, once each time; whatever is not done at the first asking fails the test."""
    over = asyncio.Event()

    async def bake() -> None:
        while not over.is_set():
            answer = await fleet.request("POST", "/api/baking/batches", b'{"loaves":12}', [JSON])
            assert answer.status == 201, answer
            baked.append(msgspec.json.decode(answer.body)["id"])
            await WORLD.sleep(PAUSE_SECONDS)

    async with asyncio.TaskGroup() as group:
        group.create_task(bake())
        yield
        over.set()


@pytest.mark.timeout(240)
async def test_instances_share_their_service_and_are_replaced_without_a_failed_request(settings_of: SettingsOf) -> None:
    """Two of each, one killed, then all replaced one after the other under load: each batch is sold once."""
    settings = settings_of({"baking": 2, "selling": 2})
    async with running(settings) as fleet:
        names = ["baking-1", "baking-2", "selling-1", "selling-2", "gateway"]
        assert [managed.name for managed in fleet.host.running] == names
        baked = [await fleet.bake() for _ in range(4)]
        for name in ("baking-1", "selling-2"):
            managed = fleet.managed(name)
            pid = managed.runnable.child.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            baked.append(await fleet.bake())
            await fleet.until(back(managed, pid))
        before = {managed.runnable.child.pid for managed in fleet.host.running}
        async with baking_meanwhile(fleet, baked):
            *progress, finished = await asked(settings.data, ReplaceInstances())
        assert progress == [Progress(done, 4) for done in (1, 2, 3, 4)]
        assert finished == Finished("All instances are replaced.", 4)
        assert fleet.managed("gateway").runnable.child.pid in before
        assert sum(managed.runnable.child.pid in before for managed in fleet.host.running) == 1
        await stocked(settings.data, baked)


@pytest.mark.timeout(240)
async def test_a_service_gets_more_and_fewer_instances_while_it_runs(settings_of: SettingsOf) -> None:
    """No request fails meanwhile, and each batch is sold once."""
    settings = settings_of({})
    async with running(settings) as fleet:
        baked: list[str] = []
        async with baking_meanwhile(fleet, baked):
            *progress, finished = await asked(settings.data, ScaleService("baking", 3))
            assert progress == [Progress(1, 2), Progress(2, 2)]
            assert finished == Finished("baking has 3 instances, it had 1.", 2)
            names = ["baking", "baking-2", "baking-3", "selling", "gateway"]
            assert [managed.name for managed in fleet.host.running] == names
            assert {managed.state for managed in fleet.host.running} == {State.READY}
            *_, finished = await asked(settings.data, ScaleService("baking", 1))
        assert finished == Finished("baking has 1 instance, it had 3.", 2)
        assert [managed.name for managed in fleet.host.running] == ["baking", "selling", "gateway"]
        assert fleet.history.count(("baking-3", State.STOPPED)) == 1
        await stocked(settings.data, baked)
        assert await asked(settings.data, ScaleService("washing", 2)) == [
            Failed("There is no service washing; there are baking, selling.")
        ]
        (failed,) = await asked(settings.data, ListProjections("baking"))
        assert isinstance(failed, Failed)


@pytest.mark.timeout(240)
async def test_an_instance_that_hangs_gets_no_requests_and_in_the_end_an_end(
    settings_of: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs, but does not answer; when it does again it gets requests again, and else it is started anew."""
    async with running(settings_of({"baking": 2})) as fleet:
        hanging = fleet.managed("baking-1")
        pid = hanging.runnable.child.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await fleet.until(lambda: hanging.state is State.UNREADY)
        await WORLD.sleep(LOOK_SECONDS)
        for _ in range(4):
            await fleet.bake()
        os.kill(pid, signal.SIGCONT)
        await fleet.until(lambda: hanging.state is State.READY)
        assert (hanging.runnable.child.pid, hanging.restarts) == (pid, 0)
        monkeypatch.setattr(watching, "SILENT_LOOKS", 1)
        os.kill(pid, signal.SIGSTOP)
        await fleet.until(back(hanging, pid))
        assert hanging.restarts == 1
