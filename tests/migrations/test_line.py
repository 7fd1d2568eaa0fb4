"""The files of migrations, as a service names them."""

from pathlib import Path

import pytest

from colonnade.persistence.migrations.line import SERVICE, InvalidMigration, read_line
from colonnade.system import InvalidSystem, Service, System
from colonnade.system.topology import topology_of


def written(folder: Path, *names: str) -> Path:
    """A folder with files that define nothing."""
    for name in names:
        (folder / name).write_text("")
    return folder


def test_the_version_of_code_is_its_highest_number(tmp_path: Path) -> None:
    """And 0 without migrations; other files of a package are none."""
    assert read_line(SERVICE, None).code == 0
    folder = written(tmp_path, "__init__.py", "0001_add_seats.py", "0002_index_seats.py")
    line = read_line(SERVICE, folder)
    assert line.code == 2
    assert [each.name for each in line.migrations] == ["0001_add_seats", "0002_index_seats"]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (
            ["0002_b.py"],
            "number 0002 is not the next; number the files from 0001 on, without gaps; 0001 is the next",
        ),
        (["0001_a.py", "0001_b.py"], "0001_b.py: its number 0001 is not the next"),
        (["add_seats.py"], "its name has no number; call it like 0001_add_seats.py"),
    ],
)
def test_numbers_have_no_gaps(tmp_path: Path, names: list[str], reason: str) -> None:
    """Nor doubles: two branches that were merged would else be carried out in no certain order."""
    with pytest.raises(InvalidMigration, match=reason):
        read_line(SERVICE, written(tmp_path, *names))


def test_a_file_that_does_nothing_is_refused(tmp_path: Path) -> None:
    """As one is that cannot be imported, with its place."""
    (migration,) = read_line(SERVICE, written(tmp_path, "0001_a.py")).migrations
    with pytest.raises(InvalidMigration, match=r"0001_a.py: it defines neither expand\(\) nor contract\(\)"):
        migration.load()
    migration.path.write_text("raise LookupError('no such seat')")
    with pytest.raises(InvalidMigration, match="it cannot be imported, LookupError: no such seat"):
        migration.load()


def test_a_system_tells_what_is_wrong_with_its_migrations(tmp_path: Path) -> None:
    """Among its other mistakes, before anything is started."""
    system = System("hall", [Service("tickets", migrations=tmp_path / "none")])
    with pytest.raises(InvalidSystem, match=r"the service tickets, .*none: there is no such folder"):
        topology_of(system)
