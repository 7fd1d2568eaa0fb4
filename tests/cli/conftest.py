"""Hosts and commands as processes, as their users run them."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import UUID

import msgspec
import pytest
from typer.testing import CliRunner, Result

from colonnade.cli.program import app
from colonnade.messages.envelope import Envelope
from colonnade.persistence.addresses import HANDLERS, commands_of
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ChainId, Deliver, Effect, Incoming, NoteLoss, Park, Receive, Unit
from colonnade.testing import running_system
from colonnade.world import World, real_world
from tests.example.bakery.baking import Bake
from tests.example.bakery.system import bakery

ROOT = Path(__file__).parents[2]
BAKERY = "tests.example.bakery.system:bakery"
SECONDS = 30.0

LOST = ChainId("baking", UUID(int=1), commands_of("selling"), 0)
"""Of a history that baking knows nothing of."""


@contextmanager
def started(data: Path, *options: str, target: str = BAKERY) -> Iterator["Host"]:
    """A host on a free port, ended with the block whatever happened to it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "colonnade.cli", "up", target, "--port", "0", "--data", str(data), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    host = Host(process)
    try:
        yield host
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


class Host:
    """`colonnade up` in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.url = ""
        self.banner = ""
        self.log = ""

    def wait_until_ready(self) -> str:
        """Its address, once it has told it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.banner += line
            if line.strip().startswith("stop"):
                found = re.search(r"(http://\S+:\d+)/health/ready", self.banner)
                assert found is not None
                return found[1]
        _, log = self.process.communicate()
        raise AssertionError(f"the host ended with {self.process.returncode}:\n{self.banner}{log}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit status."""
        output, log = self.process.communicate(timeout=SECONDS)
        self.banner += output
        self.log += log
        return self.process.returncode


class Answer(NamedTuple):
    """The answer to a request: its status, its JSON, and the token with which a reader sees at least as much."""

    status: int
    json: Any
    token: str | None


def requested(url: str, body: object = None, token: str | None = None) -> Answer:
    """The answer to a GET, or to a POST of `body`."""
    data = msgspec.json.encode(body) if body is not None else None
    headers = {"content-type": "application/json"} | ({"colonnade-token": token} if token is not None else {})
    try:
        with urlopen(Request(url, data, headers), timeout=SECONDS) as answer:  # noqa: S310
            return _answer(answer)
    except HTTPError as error:
        with error:
            return _answer(error)


def _answer(response: Any) -> Answer:
    return Answer(response.status, msgspec.json.decode(response.read() or b"null"), response.headers["colonnade-token"])


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def colonnade(tmp_path: Path) -> Command:
    """Runs a command of `colonnade` on the test's own data directory, `data`."""

    def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "colonnade.cli", *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | {"COLONNADE_DATA": str(tmp_path / "data"), "COLUMNS": "200"} | environment,
        )

    return run


def json_lines(output: str) -> Sequence[Any]:
    """What a command printed with --json."""
    return [msgspec.json.decode(line) for line in output.splitlines()]


class Invoked(Protocol):
    """Runs a command in this process."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        """What it printed, and its exit status."""


@pytest.fixture
def invoke(tmp_path: Path) -> Invoked:
    """Runs commands on the test's own data directory, `data`."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        environment = {"COLONNADE_DATA": str(tmp_path / "data"), "NO_COLOR": "1", "TERMINAL_WIDTH": "200"}
        return CliRunner().invoke(app, arguments, input=stdin, env=environment)

    return run


@pytest.fixture
def baked(tmp_path: Path) -> Path:
    """The data of a bakery that is closed: batches of 5 and 12 loaves were sold, one of 60 was not."""
    data = tmp_path / "data"
    data.mkdir()

    async def bake() -> None:
        async with running_system(bakery, data) as system:
            for loaves in (5, 12, 60):
                await system.execute(Bake(loaves))
                await system.settled()

    asyncio.run(bake())
    return data


@pytest.fixture
def parked(tmp_path: Path) -> Path:
    """The data of a bakery in whose inbox one message of the line `a` is parked, and two wait behind it."""
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(park(lambda: open_sqlite_store(data / "baking.sqlite3", real_world())))
    return data


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """The data of a bakery that waits for a command which nobody has any more, with two behind it."""
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(lose(lambda: open_sqlite_store(data / "selling.sqlite3", real_world())))
    return data


async def lose(opened: Callable[[], Awaitable[Store]]) -> None:
    """Let what baking has sent to selling after the second be lost; shelves of 5 and of 6 loaves wait behind it."""
    world = real_world()
    store = await opened()
    early = []
    for seq in (5, 6):
        data = msgspec.json.encode({"batch_id": world.ids.new(), "loaves": seq})
        envelope = _envelope("selling.StockShelf", data)
        early.append(Incoming(seq, seq - 1, HANDLERS, "a", envelope, ready=False, sent_at=world.clock.micros()))
    await store.commit(_unit(world, Receive(LOST, 0, 2, early)))
    await store.commit(_unit(world, NoteLoss(LOST, 2, 4, "its producer has deleted it", world.clock.micros())))
    await store.close()


async def park(opened: Callable[[], Awaitable[Store]]) -> None:
    """Receive three commands, of 1, 2 and 3 loaves, in the store of baking, and park the first."""
    world = real_world()
    store = await opened()
    for loaves in (1, 2, 3):
        envelope = _envelope("baking.Bake", b'{"loaves":%d}' % loaves)
        await store.commit(_unit(world, Deliver(HANDLERS, "a", envelope)))
    (first,) = await store.inbox.due(world.clock.micros(), 10)
    await store.commit(_unit(world, Park(first.row, 20, "OvenCold: the oven is cold", hold=True)))
    await store.close()


def _envelope(type: str, data: bytes) -> bytes:
    world = real_world()
    return Envelope(
        specversion="1.0",
        id=world.ids.new(),
        source="baking",
        type=type,
        subject="a",
        time=world.clock.now(),
        data=msgspec.Raw(data),
        correlationid=world.ids.new(),
    ).encode()


def _unit(world: World, *effects: Effect) -> Unit:
    return Unit(world.clock.micros(), world.ids.new(), effects=list(effects))
