"""A process that starts a server and is killed: what it leaves behind."""

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

END_SECONDS = 30

_PROGRAM = """
import asyncio, importlib, json, pathlib, sys
from colonnade.world import real_world

async def main(module, name, folder, more):
    factory = getattr(importlib.import_module(module), name)
    async with factory(pathlib.Path(folder), real_world(), **json.loads(more)) as server:
        print(server.child.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass(frozen=True)
class Starter:
    """A process, and the server that it has started."""

    process: subprocess.Popen[str]
    server: int


def started(module: str, name: str, folder: Path, **more: int) -> Starter:
    """A process that has started the server that `module.name` makes on `folder`, and that waits to be killed."""
    command = [sys.executable, "-c", _PROGRAM, module, name, str(folder), json.dumps(more)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as told:
        return Starter(process, int(told.readline()))


def ends_with_its_starter(module: str, name: str, folder: Path, **more: int) -> bool:
    """Whether the server that `module.name` makes on `folder` ends when its starter is killed with -9."""
    starter = started(module, name, folder, **more)
    server = os.pidfd_open(starter.server)
    starter.process.kill()
    starter.process.wait()
    return _ends(server)


def all_end(variable: str) -> bool:
    """Whether all processes end whose environment holds `variable`, a `NAME=value`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if variable.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(os.pidfd_open(int(pid)))
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or another user's
            continue
    ended = [_ends(process) for process in found]
    return all(ended)


def _ends(process: int) -> bool:
    """Whether the process of this descriptor, which is closed, ends."""
    try:
        return bool(select.select([process], [], [], END_SECONDS)[0])
    finally:
        os.close(process)
