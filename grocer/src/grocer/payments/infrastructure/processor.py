"""Where the card processor is, or a stand-in for it."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from colonnade.persistence import DataDirectory

from grocer.payments.application.ports import CardProcessor

__all__ = ["card_processor"]

URL_VARIABLE = "GROCER_CARD_PROCESSOR_URL"
"""Where the card processor is; without it a stand-in is started beside the system."""


async def card_processor(data: DataDirectory) -> AsyncIterator[CardProcessor]:
    """The processor named by the environment, or a stand-in that lives as long as the system runs."""
    async with _address(data) as url:
        # Each process of a fleet imports all services, and five of six never pay: they begin sooner without a client
        from grocer.payments.infrastructure.http_processor import connected

        async with connected(url) as processor:
            yield processor


@asynccontextmanager
async def _address(data: DataDirectory) -> AsyncIterator[str]:
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    ledger = data.path / "card-processor.sqlite3"
    # The stand-in ends when its standard input does, so that it never outlives a host that is killed
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "grocer.processor",
        "--ledger",
        str(ledger),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError("The stand-in of the card processor did not start; its own message stands above.")
        yield msgspec.json.decode(line, type=_Listening).address
    finally:
        process.stdin.close()
        await process.wait()


class _Listening(msgspec.Struct):
    address: str
