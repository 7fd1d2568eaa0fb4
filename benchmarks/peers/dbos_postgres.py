"""A saga of three steps on PostgreSQL, peer: a DBOS workflow whose system database and application's database lie on
one server, each step a row of the application, 32 in flight.

python -m benchmarks.postgres peers.dbos_postgres
"""

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from dbos import DBOS

from benchmarks.measuring import Measured, Stopwatch, tell
from benchmarks.postgres import Postgres

SAGAS, IN_FLIGHT = 200, 32
STEPS = ("reserve", "charge", "deliver")


async def prepared() -> tuple[Postgres, str, str]:
    postgres = Postgres()
    await postgres.assert_durable()
    urls = [await postgres.make(name) for name in ("dbos_system", "dbos_application")]
    system, application = (url.replace("postgresql://", "postgresql+psycopg://", 1) for url in urls)
    return postgres, system, application


def measure() -> Measured:
    postgres, system, application = asyncio.run(prepared())
    engine = sa.create_engine(application, pool_size=IN_FLIGHT)
    insert = sa.text("INSERT INTO effects (order_id, step) VALUES (:order_id, :step)")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE effects (id bigserial PRIMARY KEY, order_id text, step text)"))
    DBOS(
        config={
            "name": "bench",
            "system_database_url": system,
            "sys_db_pool_size": IN_FLIGHT,
            "log_level": "WARNING",
            "run_admin_server": False,
        }
    )

    @DBOS.step()
    def step(order_id: str, name: str) -> None:
        with engine.begin() as connection:
            connection.execute(insert, {"order_id": order_id, "step": name})

    @DBOS.workflow()
    def fulfil(order_id: str) -> None:
        for name in STEPS:
            step(order_id, name)

    DBOS.launch()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:

        def carry_out(orders: Iterable[str]) -> None:
            list(pool.map(fulfil, orders))

        carry_out(f"warm {number}" for number in range(IN_FLIGHT))
        watch, before = Stopwatch(), postgres.cpu_seconds()
        with watch.running():
            carry_out(f"order {number}" for number in range(SAGAS))
        watch.children_cpu_seconds = postgres.cpu_seconds() - before
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM effects")) == len(STEPS) * (SAGAS + IN_FLIGHT)
    engine.dispose()
    return watch.of(SAGAS)


if __name__ == "__main__":
    tell(measure())
    os._exit(0)  # its threads would keep the process
