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

async def main(module, name, folder):
    factory = getattr(importlib.import_module(module), name)
    async with factory(pathlib.Path(folder), real_world()) as server:
        print(server.child.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


def ends_with_its_starter(module: str, name: str, folder: Path) -> bool:
    """Whether the server that `module.name` makes on `folder` ends when its starter is killed with -9."""
    command = [sys.executable, "-c", _PROGRAM, module, name, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = os.pidfd_open(int(starter.stdout.readline()))
        os.kill(starter.pid, signal.SIGKILL)
    try:
        return bool(select.select([server], [], [], END_SECONDS)[0])
    finally:
        os.close(server)
