"""The registry in a file."""

import os
from pathlib import Path

import pytest

from colonnade.discovery import Address
from colonnade.discovery.files import LOOK_SECONDS, FileRegistry, MalformedRegistry, write_registry
from colonnade.world import real_world

FIRST, SECOND = Address("127.0.0.1", 1), Address("127.0.0.1", 2)


class Ticks:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0
        clock = real_world().clock
        self.now, self.micros = clock.now, clock.micros

    def monotonic(self) -> float:
        """As told."""
        return self.seconds


def test_a_change_is_seen_whatever_the_file_systems_clock_says(tmp_path: Path) -> None:
    """Also one within a tick of it, in a file of the same number."""
    clock = Ticks()
    path = tmp_path / "registry.json"
    registry = FileRegistry(path, clock)
    write_registry(path, {"shelf": [FIRST]})
    told = registry.instances("shelf")
    assert told == [FIRST]
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"1}", b"2}"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert registry.instances("shelf") is told
    clock.seconds += LOOK_SECONDS
    assert registry.instances("shelf") == [SECOND]


def test_what_has_not_changed_is_the_same_object(tmp_path: Path) -> None:
    """So that nobody need compare; a file that is gone says that there are none."""
    clock = Ticks()
    path = tmp_path / "registry.json"
    registry = FileRegistry(path, clock)
    write_registry(path, {"shelf": [FIRST]})
    told = registry.instances("shelf")
    clock.seconds += LOOK_SECONDS
    assert registry.instances("shelf") is told
    path.unlink()
    clock.seconds += LOOK_SECONDS
    assert list(registry.instances("shelf")) == []


def test_a_file_that_is_no_registry_is_told(tmp_path: Path) -> None:
    """With who writes it."""
    path = tmp_path / "registry.json"
    path.write_text("[]")
    with pytest.raises(MalformedRegistry, match="the host that starts them writes it"):
        FileRegistry(path, Ticks()).instances("shelf")
