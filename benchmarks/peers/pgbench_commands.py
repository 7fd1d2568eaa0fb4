"""The whole unit of work on PostgreSQL, peer: pgbench, the server's own load generator, with a script of the same
statements: a stream of ten events is selected, then in one transaction events and their messages are inserted.

Prepared statements, one thread, as many connections as tasks. It neither decodes nor decides; it is the floor.

python -m benchmarks.postgres peers.pgbench_commands TASKS EVENTS
"""

import re
import resource
import subprocess
import sys
import tempfile

import asyncpg
import uvloop

from benchmarks.commanding import EVENTS_BEFORE, STREAMS
from benchmarks.measuring import Measured, tell
from benchmarks.peers.asyncpg_commands import SCHEMA
from benchmarks.postgres import Postgres
from colonnade.system.hosts.servers.postgresql import binaries

DATABASE, SEEDED = "pgbench_commands", "pgbench_commands_seeded"
DATA = b'{"order_id":"00000000-0000-0000-0000-000000000007","quantity":1}'
ENVELOPE = b"x" * 330
"""As long as ours is."""

SEED = """
INSERT INTO events (stream, version, id, name, data, time)
SELECT 'Stock/' || stream, version, gen_random_uuid(), 'Reserved', $3, 1795887650449078
FROM generate_series(0, $1::integer - 1) stream, generate_series(1, $2::integer) version
"""
SEED_OUTBOX = """
INSERT INTO outbox (topic, key, id, envelope) SELECT 'shop.events', stream, id, $1 FROM events
"""
SCRIPT = """
\\set stream :client_id + {tasks} * random(0, {last})
SELECT version, name, data FROM events WHERE stream = 'Stock/' || :stream ORDER BY version \\aset
BEGIN;
INSERT INTO events (stream, version, id, name, data, time)
SELECT 'Stock/' || :stream, :version + n, gen_random_uuid(), 'Reserved', '\\x{data}'::bytea, 1795887650449078
FROM generate_series(1, {events}) n;
INSERT INTO outbox (topic, key, id, envelope)
SELECT 'shop.events', 'Stock/' || :stream, gen_random_uuid(), '\\x{envelope}'::bytea FROM generate_series(1, {events});
COMMIT;
"""
"""No two connections meet at a stream, and the version of the last event that was selected is kept."""


async def prepared() -> Postgres:
    postgres = Postgres()
    if not await postgres.has(SEEDED):
        connection = await asyncpg.connect(await postgres.make(DATABASE))
        await connection.execute(SCHEMA)
        await connection.execute(SEED, STREAMS, EVENTS_BEFORE, DATA)
        await connection.execute(SEED_OUTBOX, ENVELOPE)
        await connection.close()
        await postgres.keep(DATABASE, SEEDED)
    await postgres.make(DATABASE, SEEDED)
    await postgres.assert_durable()
    return postgres


def measure(tasks: int, events: int) -> Measured:
    postgres = uvloop.run(prepared())
    script = SCRIPT.format(
        tasks=tasks, last=STREAMS // tasks - 1, events=events, data=DATA.hex(), envelope=ENVELOPE.hex()
    )
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [
            binaries() / "pgbench", "-n", "-M", "prepared", "-f", file.name, "-T", "1", "-c", str(tasks),
            "-h", postgres.host, "-p", str(postgres.port), "-U", postgres.user, DATABASE,
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)  # its plans and pages are warm then
        cpu, server = _children_seconds(), postgres.cpu_seconds()
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        cpu, server = _children_seconds() - cpu, postgres.cpu_seconds() - server
    assert "number of failed transactions: 0 " in told, told
    operations = int(re.search(r"actually processed: (\d+)", told)[1])
    per_second = float(re.search(r"tps = ([\d.]+) \(without", told)[1])
    return Measured(operations, operations / per_second, cpu, server)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    tell(measure(int(sys.argv[1]), int(sys.argv[2])))
