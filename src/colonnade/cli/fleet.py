"""A fleet on the command line: one live table on a terminal, a line for each change elsewhere."""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import msgspec
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from colonnade.observability.logs import STANDARD_ERROR, Outlet
from colonnade.system import System
from colonnade.system.hosts.fleet.host import FleetHost, FleetSettings, ServingFleet
from colonnade.system.hosts.fleet.managed import Managed, State
from colonnade.world import World

__all__ = ["run_fleet"]

REFRESH_SECONDS = 0.5
_STYLES = {State.READY: "green", State.STARTING: "yellow", State.WAITING: "red", State.UNREADY: "red"}


async def run_fleet(system: System, settings: FleetSettings, world: World, logs: Outlet) -> None:
    """Run `system` as a fleet until it is told to stop; `logs` is where the lines of this process go."""
    console = Console()
    show = _Table(console) if console.is_terminal else _Lines()

    def ready(fleet: ServingFleet) -> None:
        show.say(_banner(system, settings.target, fleet))

    host = FleetHost(
        system,
        settings,
        world,
        ready=ready,
        stopping=lambda: show.say(f"{system.name} is stopping; Ctrl-C again to leave at once."),
        changed=show.changed,
    )
    with show.shown(logs):
        refreshing = asyncio.create_task(show.refresh(host.running, world))
        try:
            await host.run()
        finally:
            refreshing.cancel()
            await asyncio.wait([refreshing])
            show.last(host.running)


class _Lines:
    """What happens, line by line."""

    def shown(self, logs: Outlet) -> AbstractContextManager[None]:
        return nullcontext()

    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def changed(self, managed: Managed) -> None:
        pid = managed.runnable.child.pid
        told = f"{managed.name}: {managed.state}"
        if managed.state is State.READY and pid is not None:
            told += f" (process {pid})"
        if managed.state is State.WAITING and managed.failure is not None:
            told += f", as {managed.failure}"
        self.say(told)

    async def refresh(self, running: Sequence[Managed], world: World) -> None:
        return

    def last(self, running: Sequence[Managed]) -> None:
        return


class _Table:
    """All at a glance."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._usage: dict[int, psutil.Process] = {}

    @contextmanager
    def shown(self, logs: Outlet) -> Iterator[None]:
        above = logs.led_to(self._log) if os.isatty(STANDARD_ERROR) else nullcontext()
        with self._live, above:
            yield

    def say(self, text: str) -> None:
        self._live.console.print(text, highlight=False)

    def _log(self, line: bytes) -> None:
        text = Text.from_ansi(line.decode(errors="replace").removesuffix("\n"))
        self._live.console.print(text, soft_wrap=True, highlight=False)

    def changed(self, managed: Managed) -> None:
        return

    async def refresh(self, running: Sequence[Managed], world: World) -> None:
        while True:
            self.last(running)
            await world.sleep(REFRESH_SECONDS)

    def last(self, running: Sequence[Managed]) -> None:
        if running:
            self._live.update(self._drawn(running), refresh=True)

    def _drawn(self, running: Sequence[Managed]) -> Table:
        table = Table(expand=True, pad_edge=False, box=None, header_style="bold")
        table.add_column("process", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for name in ("restarts", "CPU", "memory"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("log", ratio=1, no_wrap=True, overflow="ellipsis")
        for managed in running:
            cpu, memory = self._used(managed.runnable.child.pid)
            table.add_row(
                managed.name,
                f"[{_STYLES.get(managed.state, 'dim')}]{managed.state}[/]",
                str(managed.restarts) if managed.restarts else "",
                cpu,
                memory,
                escape(_readable(managed.runnable.child.last_lines(1))),
            )
        return table

    def _used(self, pid: int | None) -> tuple[str, str]:
        if pid is None:
            return "", ""
        try:
            process = self._usage.setdefault(pid, psutil.Process(pid))
            family = [process, *(self._usage.setdefault(each.pid, each) for each in process.children(recursive=True))]
            cpu = sum(each.cpu_percent() for each in family)
            memory = sum(_memory_of(each) for each in family)
        except psutil.Error:
            return "", ""
        return f"{cpu:.0f} %", f"{memory / 1_000_000:.0f} MB"


def _readable(line: str) -> str:
    """The words of a log line that is an object."""
    try:
        fields: dict[str, object] = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.MsgspecError:
        return line
    words = [str(fields.pop(name, "")) for name in ("level", "event")]
    fields.pop("time", None)
    return " ".join([*words, *(f"{name}={value}" for name, value in fields.items())])


def _memory_of(process: psutil.Process) -> int:
    """Its own part of the memory that it shares with others, where the system tells (Linux)."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))


def _banner(system: System, target: str, fleet: ServingFleet) -> str:
    apis = "\n".join(
        f"  {service.name:<14}{fleet.url}/api/{service.name}/" for service in system.services if service.api is not None
    )
    tenants = f"  {'tenants':<14}{', '.join(fleet.tenants)}\n" if fleet.tenants else ""
    return (
        f"{system.name} is up as a fleet.\n{apis}\n{tenants}"
        f"  {'health':<14}{fleet.url}/health/ready\n"
        f"  {'data, logs':<14}{fleet.data.path / 'fleet'}\n"
        f"  {'endpoints':<14}colonnade routes {target}\n"
        f"  {'stop':<14}Ctrl-C"
    )
