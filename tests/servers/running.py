"""Real servers for tests: one of each for a whole run of a worker, started when it is first asked for.

Their fixtures outlive the loops of tests. A test that kills one asks the server's own loop to, and starts it again
(`where_it_runs`). `own_folder` is for who wants a server for itself.
"""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from typing import TypeVar

import pytest

from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.hosts.servers.kafka import KafkaServer, kafka
from colonnade.system.hosts.servers.nats import NatsServer, nats_server
from colonnade.system.hosts.servers.postgresql import PostgresServer, postgresql
from colonnade.system.hosts.servers.rabbitmq import RabbitMqServer, rabbitmq
from colonnade.system.hosts.servers.server import Server
from colonnade.system.hosts.servers.valkey import ValkeyServer, valkey_server
from colonnade.world import real_world
from tests.servers.debian import skipped_where_missing

S = TypeVar("S")

_HASTE = {"fsync": "off", "full_page_writes": "off"}
"""A server that lives for one run need not outlive the machine; what a kill leaves is tried on others."""

_CRASHES = ("was terminated by signal", "PANIC:", "immediate shutdown")
"""What PostgreSQL's log says when all its connections break at once."""


@contextmanager
def kept(server: AbstractAsyncContextManager[S]) -> Iterator[S]:
    """`server`, on a loop and a thread of its own, for fixtures that outlive the loops of tests."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        running = asyncio.run_coroutine_threadsafe(_entered(server), loop).result()
        _loops[id(running)] = loop
        try:
            yield running
        finally:
            del _loops[id(running)]
            asyncio.run_coroutine_threadsafe(_left(server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


_loops: dict[int, asyncio.AbstractEventLoop] = {}


async def _entered(server: AbstractAsyncContextManager[S]) -> S:
    return await server.__aenter__()


async def _left(server: AbstractAsyncContextManager[object]) -> None:
    await server.__aexit__(None, None, None)


async def where_it_runs(server: Server, work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Do something with a kept `server`, to kill it for example, on the loop that its process belongs to."""
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), _loops[id(server)]))


@contextmanager
def own_folder(name: str) -> Iterator[Path]:
    """A folder that other users can reach, as pytest's own cannot be."""
    folder = Path(mkdtemp(prefix=f"colonnade-{name}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests of this process: each makes a schema or a database of its own.

    Raises `ServerFailed` in the end where one of its processes crashed meanwhile: then all connections broke.
    """
    with own_folder("postgresql") as folder, kept(postgresql(folder, real_world(), settings=_HASTE)) as server:
        yield server
        lines = server.child.log.read_text(errors="replace").splitlines()
        if any(sign in line for line in lines for sign in _CRASHES):
            told = [line for line in lines if "LOG:" in line or any(sign in line for sign in _CRASHES)]
            raise ServerFailed("PostgreSQL", "one of its processes crashed under the tests", "\n".join(told))


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    """A NATS for all tests of this process: each makes streams of its own names."""
    with own_folder("nats") as folder, kept(nats_server(folder, real_world())) as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey for all tests of this process: each takes keys of a prefix of its own."""
    with own_folder("valkey") as folder, kept(valkey_server(folder, real_world())) as server:
        yield server


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitMqServer]:
    """A RabbitMQ for all tests of this process: each declares exchanges and queues of its own names."""
    with (
        own_folder("rabbitmq") as folder,
        skipped_where_missing(),
        kept(rabbitmq(folder, real_world())) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaServer]:
    """A Kafka for all tests of this process: each makes topics of its own names."""
    with own_folder("kafka") as folder, skipped_where_missing(), kept(kafka(folder, real_world())) as server:
        yield server
