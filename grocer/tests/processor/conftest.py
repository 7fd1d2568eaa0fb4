"""A card processor to talk to, on a free port."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio
from aiohttp import web
from colonnade.world import real_world
from grocer.tests.processor.merchant import Merchant

from grocer.processor.api import application
from grocer.processor.fates import Fates
from grocer.processor.ledger import Ledger


@pytest_asyncio.fixture
async def merchant(tmp_path: Path) -> AsyncIterator[Merchant]:
    """A merchant with a processor whose slow answers take half a second and whose time-outs are held for 50 ms."""
    with Ledger(tmp_path / "ledger.sqlite3") as ledger:
        app = application(ledger, Fates(0, {}), real_world().sleep, delay=0.5, silence=0.05)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            async with aiohttp.ClientSession() as session:
                yield Merchant(session, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()
