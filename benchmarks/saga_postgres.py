"""A saga of three steps on PostgreSQL, ours: the system of `benchmarks.saga` whole in one process, as DBOS is, with a
database for each of its two services and the broker in memory.

python -m benchmarks.postgres saga_postgres
"""

from dataclasses import replace

import uvloop

from benchmarks.measuring import Measured, tell
from benchmarks.postgres import Postgres
from benchmarks.saga import measure as measure_on
from colonnade.persistence import DataDirectory
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.store import Store
from colonnade.system.engines import Engines, embedded_engines
from colonnade.world import World


async def measure() -> Measured:
    postgres = Postgres()
    await postgres.assert_durable()

    def engines(data: DataDirectory, world: World) -> Engines:
        async def open_store(service: str) -> Store:
            return await open_postgres_store(await postgres.make(f"saga_{service}"), world)

        return replace(embedded_engines(data, world), open_store=open_store)

    return await measure_on(engines, postgres.cpu_seconds)


if __name__ == "__main__":
    tell(uvloop.run(measure()))
