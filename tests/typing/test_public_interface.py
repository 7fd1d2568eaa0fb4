"""The public interface, as a type checker sees it: what it infers, and what it rejects."""

import re
from pathlib import Path

import pytest
from mypy import api

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]

Found = dict[tuple[str, int], str]


@pytest.fixture(scope="module")
def told() -> Found:
    """What mypy in strict mode says of all cases, by file and line."""
    files = sorted(str(path) for path in CASES.glob("*.py"))
    output, errors, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", *files])
    assert not errors, errors
    found: Found = {}
    for line in output.splitlines():
        if match := re.match(r"(?:.*/)?(\w+\.py):(\d+): (error|note): (.*)", line):
            place = (match[1], int(match[2]))
            found[place] = f"{found[place]} {match[4]}" if place in found else match[4]
    return found


def marked(mark: str) -> dict[tuple[str, int], str]:
    """What the cases say behind a mark, by file and line."""
    return {
        (path.name, number): line.partition(mark)[2].strip()
        for path in CASES.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if mark in line
    }


def test_types_are_inferred(told: Found) -> None:
    """What each `# R:` reveals."""
    for place, expected in marked("# R:").items():
        assert place in told, f"nothing was revealed at {place}"
        assert f'Revealed type is "{expected}"' in told[place], f"{place}: {told[place]}"


def test_what_cannot_be_is_rejected(told: Found) -> None:
    """Each `# E:` is an error that says so."""
    for place, expected in marked("# E:").items():
        assert expected in told.get(place, ""), f"{place}: {told.get(place, 'no error')}"


def test_nothing_else_is_rejected(told: Found) -> None:
    """What carries no mark has no error: the interface can be used as it is shown."""
    unexpected = {place: said for place, said in told.items() if place not in marked("# E:") | marked("# R:")}
    assert unexpected == {}
