"""A server's process: started, watched, stopped, and gone when we are."""

import asyncio
import os
import pwd
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from colonnade.system.hosts.servers import outlived

__all__ = ["Child", "ServerFailed", "User", "unprivileged"]

LOG_LINES = 8
"""So many of the last lines of its log are told when a server fails."""

_LOG_BYTES = 16_384


class ServerFailed(Exception):
    """A server did not start, or ended by itself."""

    def __init__(self, server: str, reason: str, log: str = "") -> None:
        super().__init__(server, reason, log)
        self.server, self.reason, self.log = server, reason, log

    def __str__(self) -> str:
        told = f"The server {self.server} failed: {self.reason}"
        return f"{told}; its log ends with:\n{self.log}" if self.log else f"{told}."


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as."""

    uid: int
    gid: int


def unprivileged() -> User | None:
    """Somebody else, for programs that refuse to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(entry.pw_uid, entry.pw_gid)
    return User(65534, 65534)


@dataclass(slots=True)
class Child:
    """One server's process, which can be started again after it ended.

    It dies with the thread that started it, and so with this process, however that ends (on Linux: elsewhere only when
    it is stopped in an orderly way).
    `stop_signal` asks it to finish, `orphan_signal` is what the kernel sends when we are gone.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    grace_seconds: float = 20.0
    _process: asyncio.subprocess.Process | None = None
    _log_begin: int = 0

    @property
    def pid(self) -> int | None:
        """Its number while it runs."""
        return self._process.pid if self.is_running and self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; it need not be ready when this returns."""
        user = self.user or User(0, 0)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # In a session of its own: Ctrl-C at the terminal is ours to hand on
        with self.log.open("ab") as log:
            self._log_begin = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(outlived.__file__), str(os.getpid()), str(int(self.orphan_signal)),
                str(user.uid), str(user.gid), *self.command,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd="/", env={**os.environ, **self.environment},
            )  # fmt: skip

    @property
    def ending(self) -> str:
        """How it ended, or that it runs, for a sentence."""
        code = self._process.returncode if self._process is not None else None
        if code is None:
            return "no exit code"
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    async def wait(self) -> int:
        """Return when it has ended, with its exit code."""
        if self._process is None:
            raise ServerFailed(self.name, "it was never started")
        return await self._process.wait()

    async def stop(self) -> None:
        """Let it finish; after the time of grace, kill it."""
        if not self.is_running or self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            async with asyncio.timeout(self.grace_seconds):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it, and all that it has started, as a power cut would."""
        if self.is_running and self._process is not None:
            started = _open_descendants(self._process.pid)
            self._process.kill()  # first, so that it starts nobody anew
            await self._process.wait()
            try:
                for process in started:
                    await _end(process)
            finally:
                for process in started:
                    os.close(process)

    def last_lines(self, count: int = LOG_LINES) -> str:
        """How its log ends, without what it said before it was last started; empty when it cannot be read."""
        try:
            with self.log.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_begin, end - _LOG_BYTES))
                said = log.read()
        except OSError:
            return ""
        return "\n".join(said.decode(errors="replace").splitlines()[-count:])

    def failed(self, reason: str) -> ServerFailed:
        """What to raise when it does not do what it should."""
        return ServerFailed(self.name, reason, self.last_lines())


if sys.platform == "linux":

    def _open_descendants(pid: int) -> list[int]:
        """Descriptors of those whom a process has started, and they in turn; a number alone might be given anew."""
        found: list[int] = []
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread or the process ends while we read
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                for child in map(int, children.read_text().split()):
                    found += [os.pidfd_open(child), *_open_descendants(child)]
        return found

    async def _end(process: int) -> None:
        """Kill a process by its descriptor; it has ended when this returns, though it may not be reaped yet."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(process, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(process)

else:

    def _open_descendants(pid: int) -> list[int]:
        """Nobody: only Linux tells."""
        return []

    async def _end(process: int) -> None:
        raise NotImplementedError
