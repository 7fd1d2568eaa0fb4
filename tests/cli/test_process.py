"""A process of a fleet, started by itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

from colonnade.system.hosts.fleet.settings import VARIABLE, BrokerKind, BrokerSettings, ServiceSettings, written
from colonnade.system.hosts.servers.nats import NatsServer
from colonnade.system.hosts.servers.ports import free_port
from tests.cli.conftest import BAKERY, ROOT, SECONDS

UNNEEDED = ("aiohttp.client", "alembic", "apsw", "click.testing", "pygments", "rich.console", "typer")


def process(*options: str, settings: str | None = None) -> "subprocess.CompletedProcess[str]":
    """What it said, and how it ended."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if settings is not None:
        environment[VARIABLE] = settings
    command = [sys.executable, *options, "-m", "colonnade.cli.process"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, env=environment)


def of_a_service(path: Path, nats: NatsServer, target: str = BAKERY) -> str:
    """The settings of an instance of baking, whose database nobody serves."""
    return written(
        ServiceSettings(
            host="127.0.0.1",
            port=free_port(),
            registry=path / "registry.json",
            service="baking",
            target=target,
            data=path,
            store=f"postgresql://127.0.0.1:{free_port()}/baking",
            broker=BrokerSettings(BrokerKind.NATS, nats.url),
            cache="redis://127.0.0.1:1",
            owner="baking-1",
        )
    )


def test_only_what_a_service_needs_is_imported(tmp_path: Path, nats: NatsServer) -> None:
    """All processes of a fleet start at once: what one imports in vain each of them does."""
    ended = process("-X", "importtime", settings=of_a_service(tmp_path, nats))
    assert ended.returncode == 1
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", ended.stderr, re.MULTILINE))
    assert {"asyncpg", "nats.aio.client", "tests.example.bakery.baking"} <= imported
    assert imported.isdisjoint(UNNEEDED)


def test_what_a_process_cannot_begin_with_is_one_sentence(tmp_path: Path, nats: NatsServer) -> None:
    """No settings, settings of another Colonnade, a system that is not there, a database that does not answer."""
    for settings in (None, "{}"):
        ended = process(settings=settings)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"{VARIABLE} does not describe a process of a fleet (")
        assert ended.stderr.endswith("; start one with colonnade up --fleet.\n")
    ended = process(settings=of_a_service(tmp_path, nats, "tests.example.bakery.system:patisserie"))
    told = "tests.example.bakery.system has no attribute 'patisserie'; its systems are: bakery.\n"
    assert (ended.returncode, ended.stderr) == (1, told)
    ended = process(settings=of_a_service(tmp_path, nats))
    assert (ended.returncode, "The store" in ended.stderr.splitlines()[-1]) == (1, True)
