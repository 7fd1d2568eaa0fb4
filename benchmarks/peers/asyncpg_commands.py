"""The whole unit of work on PostgreSQL, peer: plain asyncpg, a transaction a command, a connection a task.

As one writes it by hand at its best: uvloop, prepared statements, no reset of connections, msgspec for JSON, the events
of a command and its messages in one statement of arrays each. A stream of ten events is loaded and decided upon, events
are appended where their version is free, their messages go to an outbox.

python -m benchmarks.postgres peers.asyncpg_commands TASKS EVENTS
"""

import sys
import time
import uuid
from uuid import UUID

import asyncpg
import msgspec
import uvloop

from benchmarks.commanding import EVENTS_BEFORE, STREAMS, measured, stream_id
from benchmarks.measuring import Measured, tell
from benchmarks.postgres import Postgres

DATABASE, SEEDED = "asyncpg_commands", "asyncpg_commands_seeded"
ORDER = UUID(int=7)

SCHEMA = """
CREATE TABLE events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, version integer NOT NULL,
    id uuid NOT NULL, name text NOT NULL, data bytea NOT NULL, time bigint NOT NULL, UNIQUE (stream, version)
);
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text NOT NULL, key text NOT NULL, id uuid NOT NULL,
    envelope bytea NOT NULL
);
"""
LOAD = "SELECT version, name, data FROM events WHERE stream = $1 ORDER BY version"
APPEND = """
INSERT INTO events (stream, version, id, name, data, time)
SELECT $1, e.version, e.id, 'Reserved', e.data, $2
FROM unnest($3::integer[], $4::uuid[], $5::bytea[]) e (version, id, data)
"""
PUBLISH = """
INSERT INTO outbox (topic, key, id, envelope)
SELECT 'shop.events', $1, e.id, e.envelope FROM unnest($2::uuid[], $3::bytea[]) e (id, envelope)
"""


class Reserved(msgspec.Struct):
    order_id: UUID
    quantity: int


class Envelope(msgspec.Struct):
    id: UUID
    source: str
    type: str
    subject: str
    time: int
    data: msgspec.Raw


decode = msgspec.json.Decoder(Reserved).decode
encode = msgspec.json.Encoder().encode


async def reserve(connection: asyncpg.Connection, number: int, events: int) -> None:
    stream = f"Stock/{stream_id(number)}"
    async with connection.transaction():
        on_hand, version = 1_000_000, 0
        for version, _, data in await connection.fetch(LOAD, stream):  # noqa: B007 - the last one counts
            on_hand -= decode(data).quantity
        now = time.time_ns() // 1_000
        ids, datas, envelopes = [], [], []
        for _ in range(events):
            assert on_hand >= 1
            event = Reserved(ORDER, 1)
            on_hand -= event.quantity
            id, data = uuid.uuid4(), encode(event)
            ids.append(id)
            datas.append(data)
            envelopes.append(encode(Envelope(id, "shop", "Reserved", stream, now, msgspec.Raw(data))))
        versions = range(version + 1, version + events + 1)
        await connection.execute(APPEND, stream, now, versions, ids, datas)
        await connection.execute(PUBLISH, stream, ids, envelopes)


async def measure(tasks: int, events: int) -> Measured:
    postgres = Postgres()
    if not await postgres.has(SEEDED):
        connection = await asyncpg.connect(await postgres.make(DATABASE))
        await connection.execute(SCHEMA)
        async with connection.transaction():
            for number in range(STREAMS):
                await reserve(connection, number, EVENTS_BEFORE)
        await connection.close()
        await postgres.keep(DATABASE, SEEDED)
    url = await postgres.make(DATABASE, SEEDED)
    idle = [await asyncpg.connect(url) for _ in range(tasks)]
    connections = list(idle)

    async def command(number: int) -> None:
        connection = idle.pop()
        try:
            await reserve(connection, number, events)
        finally:
            idle.append(connection)

    try:
        return await measured(postgres, command, tasks)
    finally:
        for connection in connections:
            await connection.close()


if __name__ == "__main__":
    tell(uvloop.run(measure(int(sys.argv[1]), int(sys.argv[2]))))
