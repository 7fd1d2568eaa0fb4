"""What the machines stand on that drive a store and a model of it side by side."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from colonnade.persistence.store import Committed, Store
from colonnade.persistence.unit import Unit
from colonnade.testing.conformance.store.database import Database, StoreSuite, with_sales

__all__ = ["StoreMachine", "run_machine"]

R = TypeVar("R")


class StoreMachine(RuleBasedStateMachine):
    """Opens a database of its own, and runs each rule on an event loop of its own to the end."""

    def __init__(self, suite: StoreSuite) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self._database: Database = self.run(self._opened.enter_async_context(suite.empty_database()))
        self.store: Store = self.run(with_sales(self._database))

    def run(self, doing: Awaitable[R]) -> R:
        """What `doing` results in."""

        async def do() -> R:
            return await doing

        return self._runner.run(do())

    def commit_all(self, units: list[Unit]) -> list[Committed | BaseException]:
        """Commit units at the same time; what became of each."""

        async def commit() -> list[Committed | BaseException]:
            return await asyncio.gather(*(self.store.commit(unit) for unit in units), return_exceptions=True)

        return self.run(commit())

    def reopen(self) -> None:
        """Close the store and open it again."""
        self.run(self.store.close())
        self.store = self.run(self._database())

    def teardown(self) -> None:
        """Close the store and its database."""
        self.run(self.store.close())
        self.run(self._opened.aclose())
        self._runner.close()


def run_machine(machine: type[StoreMachine], suite: StoreSuite, *, examples: int, steps: int) -> None:
    """Try `examples` runs of `machine` of up to so many steps."""
    tried: Any = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes where every step waits for a disk
    )

    def made() -> StoreMachine:
        return machine(suite)

    run_state_machine_as_test(cast(Any, made), settings=tried)
