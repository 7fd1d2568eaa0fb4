"""Servers that are not installed: their tests are skipped, with the reason and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from colonnade.system.hosts.servers.installed import NotInstalled
from colonnade.system.hosts.servers.installed import installed as program_of

__all__ = ["installed", "skipped_where_missing"]


@contextmanager
def skipped_where_missing() -> Iterator[None]:
    """Skip the test whose server is not installed."""
    try:
        yield
    except NotInstalled as missing:
        pytest.skip(str(missing))


def installed(program: str, package: str) -> Path:
    """The file of `program`, which only tests start; skips the test where its package is not installed."""
    with skipped_where_missing():
        return program_of(program, program, package)
