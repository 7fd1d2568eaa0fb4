"""Instances that share the lines of one store come, go and are killed, as real processes on PostgreSQL."""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.store import Store
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world
from tests.workers.counting import CONSUMER, Counted
from tests.workers.hands import commit, delivered

WORLD = real_world()
KEYS = [f"k{number}" for number in range(40)]
LEASE_SECONDS = 1.0
WITHIN_SECONDS = 45.0


class Shop:
    """A store into which messages come, each with the next number of its key, and the instances that work on it."""

    def __init__(self, store: Store, url: str, schema: str) -> None:
        self.store = store
        self.sent = 0
        self._at = [url, schema]
        self.processes: dict[str, Process] = {}

    async def start(self, owner: str) -> None:
        """An instance more."""
        self.processes[owner] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.workers.counting", *self._at, owner, f"{LEASE_SECONDS}",
            stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE,
        )  # fmt: skip

    async def end(self, owner: str, how: signal.Signals) -> None:
        """An instance less."""
        process = self.processes.pop(owner)
        assert process.returncode is None, owner
        process.send_signal(how)
        _, errors = await process.communicate()
        assert process.returncode == (-how if how is signal.SIGKILL else 0), errors.decode()

    async def send(self) -> None:
        """A message to each key, whenever most of those before are handled, until cancelled."""
        while True:
            self.sent += 1
            messages = [delivered(CONSUMER, key, b"%d" % self.sent) for key in KEYS]
            await commit(self.store, WORLD, *messages)
            while await self.store.inbox.unhandled() > 2 * len(KEYS):
                await WORLD.sleep(0.02)

    async def by(self) -> set[str]:
        """Who has done some of what was done lately."""
        end = await self.store.log.end()
        latest = await self.store.log.read(max(0, end - 3 * len(KEYS)), 3 * len(KEYS))
        return {msgspec.json.decode(event.data, type=Counted).owner for event in latest}

    async def until_done_by(self, *owners: str) -> None:
        """Wait until what is done is done by these, each its part."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while await self.by() != {*owners}:
                await WORLD.sleep(0.05)


@pytest.fixture
async def shop(postgres: PostgresServer) -> AsyncIterator[Shop]:
    """One in a schema of its own; no instance is left of it."""
    schema = f"lines_{WORLD.ids.new().hex}"
    store = await open_postgres_store(postgres.url(), WORLD, schema=schema)
    shop = Shop(store, postgres.url(), schema)
    try:
        yield shop
    finally:
        for owner in list(shop.processes):
            await shop.end(owner, signal.SIGKILL)
        await store.close()


@asynccontextmanager
async def sending(shop: Shop) -> AsyncIterator[None]:
    """Messages come while the block runs."""
    task = asyncio.ensure_future(shop.send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.timeout(120)
async def test_the_order_of_each_key_holds_while_instances_come_go_and_are_killed(shop: Shop) -> None:
    """Each key's messages take effect in their order, each once, and within seconds all instances have a part."""
    async with sending(shop):
        await shop.start("a")
        await shop.until_done_by("a")
        await shop.start("b")
        await shop.start("c")
        await shop.until_done_by("a", "b", "c")
        await shop.end("a", signal.SIGKILL)
        await shop.until_done_by("b", "c")
        await shop.start("d")
        await shop.until_done_by("b", "c", "d")
        await shop.end("b", signal.SIGTERM)
        await shop.until_done_by("c", "d")
        await shop.end("c", signal.SIGKILL)
        await shop.until_done_by("d")
    async with asyncio.timeout(WITHIN_SECONDS):
        while await shop.store.inbox.unhandled():
            await WORLD.sleep(0.05)
    assert shop.sent > 20
    for key in KEYS:
        events = await shop.store.log.stream(f"Count/{key}", limit=10_000)
        counted = [msgspec.json.decode(event.data, type=Counted).number for event in events]
        assert counted == list(range(1, shop.sent + 1)), key
    assert await shop.store.inbox.parked_count() == 0
