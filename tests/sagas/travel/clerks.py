"""Who decides in the system under test: people that a test tells what to do."""

import asyncio
from collections import Counter
from typing import Literal

__all__ = ["Clerks", "Doing"]

Doing = Literal["agree", "refuse", "defer", "fail", "wait"]


class Clerks:
    """Agree, unless a test told them otherwise: about what, and for how many times."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.may_go_on = asyncio.Event()
        self._told: dict[str, list[Doing]] = {}
        self._was_asked = asyncio.Event()

    def tell(self, about: str, *doing: Doing) -> None:
        """The next times somebody asks `about` something, this is done; afterwards they agree."""
        self._told[about] = [*doing]

    async def decide(self, about: str) -> Doing:
        """What to do; raises `RuntimeError` where a test wants a failure, and waits where it wants that."""
        self.asked[about] += 1
        self._was_asked.set()
        told = self._told.get(about)
        doing: Doing = told.pop(0) if told else "agree"
        if doing == "fail":
            raise RuntimeError(f"the clerk lost the paper on which it says {about}")
        if doing == "wait":
            await self.may_go_on.wait()
            return "agree"
        return doing

    async def until_asked(self, about: str, times: int = 1) -> None:
        """Return when somebody has asked that."""
        async with asyncio.timeout(20):
            while self.asked[about] < times:
                self._was_asked.clear()
                await self._was_asked.wait()
