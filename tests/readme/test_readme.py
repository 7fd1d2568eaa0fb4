"""What the README shows is what there is."""

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from grocer.shop.cli import app as grocer
from typer.testing import CliRunner

from colonnade.cli.program import app as colonnade
from colonnade.system import System
from colonnade.testing import running_system

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """The only block of code in that language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(found)


def test_the_picture_of_the_system_is_drawn_from_the_code() -> None:
    """The picture is what `colonnade topology` draws now."""
    drawn = subprocess.run(
        [sys.executable, "-m", "colonnade.cli", "topology", "grocer.system:grocer"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert block("mermaid").strip() in drawn.stdout


@pytest.fixture
def first_service(tmp_path: Path) -> Path:
    """The first service in a file, as a newcomer types it."""
    path = tmp_path / "bread.py"
    path.write_text(block("python"))
    return path


def test_the_first_service_has_thirty_lines_and_passes_the_check(first_service: Path) -> None:
    """Blank lines aside; `colonnade check` finds no fault with it."""
    assert len([line for line in first_service.read_text().splitlines() if line.strip()]) <= 30
    checked = subprocess.run(
        [sys.executable, "-m", "colonnade.cli", "check", "bread:bakery"],
        cwd=first_service.parent,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


async def test_the_first_service_does_what_is_said_of_it(first_service: Path, tmp_path: Path) -> None:
    """An order is accepted and stored, too many loaves are refused by name, none by place."""
    spec = spec_from_file_location("bread", first_service)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["bread"] = module
    try:
        spec.loader.exec_module(module)
        bakery: System = module.bakery
        async with running_system(bakery, tmp_path) as system:
            accepted = await system.request("POST", "/api/orders/orders", json={"loaves": 3})
            assert accepted.status == 201
            assert accepted.headers["location"] == f"/api/orders/orders/{accepted.json()['id']}"
            refused = await system.request("POST", "/api/orders/orders", json={"loaves": 101})
            assert (refused.status, refused.json()["type"]) == (422, "urn:problem:orders.TooMany")
            (event,) = await system.runtime.services["orders"].store.log.read()
            assert (event.name, event.data) == ("orders.Ordered", b'{"loaves":3}')
    finally:
        del sys.modules["bread"]


def test_every_command_that_the_readme_types_exists() -> None:
    """Each `colonnade …` and `grocer …` of the README answers to --help."""
    commands = set(re.findall(r"\.venv/bin/(colonnade|grocer) ([a-z-]+)", README))
    assert commands
    for program, command in commands:
        helped = CliRunner().invoke({"colonnade": colonnade, "grocer": grocer}[program], [command, "--help"])
        assert helped.exit_code == 0, f"{program} {command}"
