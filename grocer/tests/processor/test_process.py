"""The processor as a process: it says where it is, remembers across kills and never outlives its parent."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from grocer.tests.processor.merchant import Merchant

_COMMAND = (sys.executable, "-m", "grocer.processor", "--ledger")


@asynccontextmanager
async def processor(ledger: Path, *options: str) -> AsyncIterator[tuple[Process, Merchant]]:
    """A processor in a process of its own, and a merchant who talks to it."""
    process = await asyncio.create_subprocess_exec(*_COMMAND, str(ledger), *options, stdin=PIPE, stdout=PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            listening = json.loads(await process.stdout.readline())
        assert listening["pid"] == process.pid
        async with aiohttp.ClientSession() as session:
            yield process, Merchant(session, listening["address"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: Process) -> int:
    """The exit code, in time."""
    async with asyncio.timeout(10):
        return await process.wait()


async def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """Killed in the midst of thirty-two merchants' charges and started again, it knows every charge it answered."""
    ledger = tmp_path / "ledger.sqlite3"
    answered: list[str] = []

    async with processor(ledger) as (process, merchant):

        async def charge_for_ever(name: int) -> None:
            number = 0
            while True:
                key = f"{name}-{number}"
                try:
                    answer = await merchant.charge(key, "tok_ok", reference=key)
                except aiohttp.ClientError:
                    return
                assert answer.status == 201
                answered.append(key)
                number += 1
                if len(answered) == 300:
                    process.kill()

        await asyncio.gather(*(charge_for_ever(name) for name in range(32)))
        assert await ended(process) == -signal.SIGKILL

    async with processor(ledger) as (_, merchant):
        known: set[str] = set()
        after: int | None = 0
        while after is not None:
            page = (await merchant.ask("GET", f"/charges?after={after}&limit=100")).body
            known |= {charge["key"] for charge in page["charges"]}
            after = page["next"]
        assert len(answered) >= 300
        assert set(answered) <= known
        again = await merchant.charge(answered[-1], "tok_ok", reference=answered[-1])
        assert again.status == 201
        assert again.body == (await merchant.find(answered[-1])).body


async def test_it_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    """The end of its standard input is the end of it, at once and without complaint."""
    async with processor(tmp_path / "ledger.sqlite3") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert await ended(process) == 0


async def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A parent that is killed outright takes it along: it does not wait for anyone to tell it."""
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen({[*_COMMAND, str(tmp_path / 'ledger.sqlite3')]!r}, stdin=subprocess.PIPE)\n"
        "child.wait()\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            pid = json.loads(await process.stdout.readline())["pid"]
        watch = os.pidfd_open(pid)
        try:
            gone = asyncio.Event()
            asyncio.get_running_loop().add_reader(watch, gone.set)
            process.kill()
            async with asyncio.timeout(10):
                await gone.wait()
            asyncio.get_running_loop().remove_reader(watch)
        finally:
            os.close(watch)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end it with exit code 0, also while a request without an answer is held."""
    async with processor(tmp_path / "ledger.sqlite3", "--silence", "60") as (process, merchant):
        async with asyncio.TaskGroup() as group:

            async def wait_in_vain() -> None:
                with pytest.raises(aiohttp.ClientError):
                    await merchant.charge("key-1", "tok_timeout", seconds=30)

            group.create_task(wait_in_vain())
            await merchant.charge("key-2")
            process.send_signal(number)
        assert await ended(process) == 0


async def test_rates_and_seed_come_from_the_command_line(tmp_path: Path) -> None:
    """Started with `--declined 1`, every card is declined."""
    rates = ("--declined", "1", "--slow", "0", "--timeout", "0", "--lost", "0", "--seed", "7")
    async with processor(tmp_path / "ledger.sqlite3", *rates) as (_, merchant):
        assert (await merchant.charge("key-1", "card_64")).status == 402


@pytest.mark.parametrize(
    ("ledger", "options", "message"),
    [
        ("nowhere/ledger.sqlite3", (), "name a file in a folder that exists"),
        ("ledger.sqlite3", ("--declined", "2"), "give shares of 1"),
        ("ledger.sqlite3", ("--port", "1" * 5), "cannot listen on port 11111"),
    ],
)
async def test_what_cannot_work_is_told_at_the_start(
    tmp_path: Path, ledger: str, options: tuple[str, ...], message: str
) -> None:
    """Exit code 2 and a sentence with the remedy."""
    async with asyncio.timeout(20):
        taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = str(taken.sockets[0].getsockname()[1])
        options = tuple(port if option == "11111" else option for option in options)
        try:
            process = await asyncio.create_subprocess_exec(
                *_COMMAND, str(tmp_path / ledger), *options, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
            _, complaint = await process.communicate()
        finally:
            taken.close()
            await taken.wait_closed()
    assert process.returncode == 2
    assert message.replace("11111", port) in complaint.decode()
