"""The PostgreSQL of benchmarks: one server for all subjects of one, each round in a new database of it.

It is the development server of the wheel, with fsync and synchronous_commit on: what is acknowledged is on the disk.

python -m benchmarks.postgres MODULE ARGUMENTS runs a subject with a server of its own.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measuring import family_cpu_seconds_of
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world

__all__ = ["Postgres", "postgres_server"]

URL_VARIABLE, PID_VARIABLE = "COLONNADE_BENCH_POSTGRES", "COLONNADE_BENCH_POSTGRES_PID"


@contextmanager
def postgres_server() -> Iterator[Mapping[str, str]]:
    """A server, as long as the block lasts; gives what subjects must have in their environment."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        Path(folder).chmod(0o755)  # it runs as somebody else where we are root
        server = PostgresServer(Path(folder), real_world(), port=free_port(), connections=200, settings={})
        runner.run(server.start())
        try:
            yield {URL_VARIABLE: server.url(), PID_VARIABLE: str(server.child.pid)}
        finally:
            runner.run(server.stop())


class Postgres:
    """The server as a subject sees it."""

    def __init__(self) -> None:
        self.url = os.environ[URL_VARIABLE]
        self.pid = int(os.environ[PID_VARIABLE])
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port, self.user = parts.hostname, parts.port, parts.username or "postgres"

    def url_of(self, database: str) -> str:
        """Where a database is."""
        return f"{self.url.rpartition('/')[0]}/{database}"

    async def has(self, database: str) -> bool:
        """Whether there is such a database."""
        return bool(await self._asked("SELECT 1 FROM pg_database WHERE datname = $1", database))

    async def make(self, database: str, template: str = "template1") -> str:
        """Make a database, in the place of one that may be there, like `template`; where it is."""
        await self._run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await self._run(f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url_of(database)

    async def keep(self, database: str, name: str) -> None:
        """Keep a database that was filled, for rounds to be begun with copies of it.

        It is vacuumed, as by the server itself a minute later: else the first to read a row logs that it is committed.
        """
        await self._run("VACUUM (ANALYZE)", database)
        await self._run(f"ALTER DATABASE {database} RENAME TO {name}")

    async def assert_durable(self) -> None:
        """Nothing acknowledged is lost with the power."""
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await self._asked("SELECT current_setting($1)", setting) == "on", setting

    def cpu_seconds(self) -> float:
        """The CPU that it has used so far, all its processes together."""
        return family_cpu_seconds_of(self.pid)

    async def _run(self, sql: str, database: str = "postgres") -> None:
        import asyncpg

        connection = await asyncpg.connect(self.url_of(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def _asked(self, sql: str, *values: str) -> object:
        import asyncpg

        connection = await asyncpg.connect(self.url)
        try:
            value: object = await connection.fetchval(sql, *values)
        finally:
            await connection.close()
        return value


if __name__ == "__main__":
    with postgres_server() as environment:
        command = [sys.executable, "-m", f"benchmarks.{sys.argv[1]}", *sys.argv[2:]]
        raise SystemExit(subprocess.run(command, env=os.environ | environment).returncode)
