"""Bar (d), peer: a DBOS workflow of three steps on SQLite, each a row in the application's database, 32 in flight.

Its faster ways were chosen: blocking steps, workflows called from a thread each rather than started or awaited, rows
written by steps rather than by its transactions, and its system database in WAL, which it does not set.
python -m benchmarks.peers.dbos_workflow
"""

import os
import sqlite3
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from dbos import DBOS

from benchmarks.measuring import Measured, Stopwatch, assert_durable, tell

SAGAS, IN_FLIGHT = 200, 32


def measure(data: str) -> Measured:
    os.chdir(data)
    for file in ("system.sqlite", "app.sqlite"):
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    DBOS(
        config={
            "name": "bench",
            "system_database_url": "sqlite:///system.sqlite",
            "log_level": "WARNING",
            "run_admin_server": False,
        }
    )
    engine = sa.create_engine("sqlite:///app.sqlite", connect_args={"timeout": 30})
    insert = sa.text("INSERT INTO effects (order_id, step) VALUES (:order_id, :step)")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE effects (id INTEGER PRIMARY KEY, order_id TEXT, step TEXT)"))

    @DBOS.step()
    def step(order_id: str, name: str) -> None:
        with engine.begin() as connection:
            connection.execute(insert, {"order_id": order_id, "step": name})

    @DBOS.workflow()
    def fulfil(order_id: str) -> None:
        for name in ("reserve", "charge", "deliver"):
            step(order_id, name)

    DBOS.launch()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(fulfil, [f"warm {number}" for number in range(IN_FLIGHT)]))
        watch = Stopwatch()
        with watch.running():
            list(pool.map(fulfil, [f"order {number}" for number in range(SAGAS)]))
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM effects")) == 3 * (SAGAS + IN_FLIGHT)
    engine.dispose()
    for file in ("system.sqlite", "app.sqlite"):
        assert_durable(file)
    return watch.of(SAGAS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as data:
        tell(measure(data))
        os.chdir("/")
    sys.stderr.flush()
    os._exit(0)  # its threads would keep the process
