"""A process that starts a server and is killed: what it leaves behind."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

END_SECONDS = 30

_PROGRAM = """
import asyncio, importlib, pathlib, sys
from colonnade.world import real_world

async def main(module, name, folder, *more):
    factory = getattr(importlib.import_module(module), name)
    async with factory(pathlib.Path(folder), real_world(), *more) as server:
        print(server.child.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


def ends_with_its_starter(module: str, name: str, folder: Path, *more: str) -> bool:
    """Whether the server that `module.name` makes on `folder` ends when its starter is killed with -9."""
    command = [sys.executable, "-c", _PROGRAM, module, name, str(folder), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = os.pidfd_open(int(starter.stdout.readline()))
        os.kill(starter.pid, signal.SIGKILL)
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
