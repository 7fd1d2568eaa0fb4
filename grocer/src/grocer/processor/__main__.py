"""The card processor as a process: `python -m grocer.processor --ledger FILE`.

It prints its address as one line of JSON when it listens, and ends on SIGTERM, on SIGINT and when its standard input
ends, so that it never outlives a parent that holds the other end.
"""

import argparse
import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from threading import Thread

import apsw
import uvloop
from aiohttp import web
from colonnade.world import real_world

from grocer.processor.api import application
from grocer.processor.fates import DEFAULT_RATES, Fates
from grocer.processor.ledger import Ledger

_HOST = "127.0.0.1"
_GRACE = 0.25
"""Seconds that requests in work have left when the processor stops."""


def main() -> None:
    """Parse the command line and serve until told to stop; exits 2 with a sentence when the ledger cannot be used."""
    parser = argparse.ArgumentParser("grocer.processor", description="A stand-in for a card processor.")
    parser.add_argument("--ledger", type=Path, required=True, help="SQLite file to keep charges in; made if missing")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0, the default, takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="what the cards' fates are drawn from")
    for fate, rate in DEFAULT_RATES.items():
        parser.add_argument(f"--{fate}", type=float, default=rate, metavar="SHARE", help=f"default {rate}")
    parser.add_argument("--delay", type=float, default=1.0, metavar="SECONDS", help="how late a slow answer comes")
    parser.add_argument("--silence", type=float, default=30.0, metavar="SECONDS", help="how long a time-out is held")
    options = parser.parse_args()
    try:
        fates = Fates(options.seed, {fate: getattr(options, fate) for fate in DEFAULT_RATES})
    except ValueError as error:
        parser.error(str(error))
    with suppress(KeyboardInterrupt):
        try:
            uvloop.run(_serve(options.ledger, fates, options.port, options.delay, options.silence))
        except apsw.Error as error:
            parser.error(f"cannot use {options.ledger} as the ledger: {error}; name a file in a folder that exists")
        except OSError as error:
            parser.error(f"cannot listen on port {options.port}: {error}; choose another, or 0 for a free one")


async def _serve(ledger_file: Path, fates: Fates, port: int, delay: float, silence: float) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    with Ledger(ledger_file) as ledger:
        runner = web.AppRunner(
            application(ledger, fates, real_world().sleep, delay=delay, silence=silence),
            access_log=None,
            shutdown_timeout=_GRACE,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, _HOST, port).start()
            _, listening = runner.addresses[0]
            print(json.dumps({"address": f"http://{_HOST}:{listening}", "pid": os.getpid()}), flush=True)
            Thread(target=_watch_parent, args=(loop, stopped), name="parent-watch", daemon=True).start()
            await stopped.wait()
        finally:
            await runner.cleanup()


def _watch_parent(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    # A blocking read in a thread, since loops can watch pipes but neither files nor /dev/null.
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):  # the loop has closed in the meantime
        loop.call_soon_threadsafe(stopped.set)


if __name__ == "__main__":
    main()
