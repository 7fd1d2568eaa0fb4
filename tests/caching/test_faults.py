"""Kept answers while the cache server comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import pytest

from colonnade.caching.query_cache import QueryCache
from colonnade.persistence import DataDirectory
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.servers.valkey import ValkeyServer, valkey_server
from colonnade.testing.running import RunningSystem, running_system
from colonnade.world import real_world
from tests.caching.cutting import Cut, cuttable
from tests.caching.pinboard import pinboard
from tests.caching.valkeys import running_cache, well

WRITES = 40
FAULTS = 12
_WORLD = real_world()


@asynccontextmanager
async def behind(cut: Cut, data: Path) -> AsyncIterator[tuple[RunningSystem, QueryCache]]:
    """A pinboard whose kept answers lie behind `cut`."""
    async with running_cache(cut.url) as cache:
        queries = QueryCache(cache, _WORLD)
        engines = replace(embedded_engines(DataDirectory(data), _WORLD), queries=queries)
        async with running_system(pinboard, data, engines=engines) as board:
            yield board, queries
        await well(cache)


def position_of(token: str) -> int:
    """Which position of the log a token names."""
    return int(token.rpartition(".")[2], 16)


@pytest.mark.parametrize("seed", range(2))
async def test_nobody_reads_less_than_he_has_seen(seed: int, tmp_path: Path) -> None:
    """With the server cut off, hanging and killed at random, each reads what he wrote, or newer; what stays is true."""
    random = Random(seed)  # noqa: S311 - faults, no secrets
    data = tmp_path / "data"
    data.mkdir()
    seen: list[tuple[int, str]] = []
    async with (
        valkey_server(tmp_path / "valkey", _WORLD) as server,
        cuttable(server) as cut,
        behind(cut, data) as (board, _),
    ):

        async def write_and_read(writer: int) -> None:
            for number in count():
                if disturbing.done() and number >= WRITES:
                    return
                done = await board.request("POST", "/api/notes/note", json={"text": f"{writer}.{number}"})
                assert done.status == 204, done.body
                token = done.headers["colonnade-token"]
                for path in ("/api/notes/note", "/api/notes/note/public"):
                    answer = await board.request("GET", path, headers={"Colonnade-Token": token})
                    assert answer.status == 200, answer.body
                    seen.append((position_of(token), answer.json()))
                await board.request("GET", "/api/notes/note")
                label = {"label": f"{writer}.{number}"}
                await board.request("POST", f"/api/notes/shelves/{writer}", json=label)
                shelf = await board.request("GET", f"/api/notes/shelves/{writer}")
                assert shelf.json() == label["label"], "own tables have no tokens: the answer is there after the change"

        async with asyncio.TaskGroup() as group:
            disturbing = group.create_task(_disturb(random, cut, server))
            for writer in range(4):
                group.create_task(write_and_read(writer))
        events = await board.runtime.services["notes"].store.log.read(limit=100_000)
        at = {msgspec.json.decode(event.data)["text"]: event.position for event in events}
        assert len(seen) >= 4 * WRITES * 2
        for position, text in seen:
            assert at[text] >= position
        await board.settled()
        for path in ("/api/notes/note", "/api/notes/note/public"):
            assert at[(await board.request("GET", path)).json()] == events[-1].position


async def _disturb(random: Random, cut: Cut, server: ValkeyServer) -> None:
    for _ in range(FAULTS):
        await _WORLD.sleep(random.uniform(0, 0.1))
        what = random.choice(["cut", "hang", "kill"])
        if what == "cut":
            cut.cut()
        elif what == "hang":
            cut.hang()
        else:
            await server.kill()
        await _WORLD.sleep(random.uniform(0, 0.1))
        if what == "kill":
            await server.start()
        cut.mend()
