"""The program as a whole: its commands, their help, and the systems that they are given."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from colonnade.system import System
from tests.cli.conftest import BAKERY, ROOT, Command, Invoked, json_lines

BASH = shutil.which("bash") or "bash"

COMMANDS = {
    "up": (),
    "scale": (),
    "replace": (),
    "migrate": (),
    "check": (),
    "routes": (),
    "topology": (),
    "openapi": (),
    "events": ("list", "show", "tail"),
    "projections": ("list", "rebuild"),
    "sagas": ("list", "show", "retry", "skip", "compensate", "close"),
    "dead-letters": ("list", "show", "retry", "discard"),
    "lost": ("list", "pass-over"),
}


def test_the_help_names_every_command(invoke: Invoked) -> None:
    """With one sentence each that is not cut off."""
    told = invoke("--help").stdout
    commands = told.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in commands] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in commands)


@pytest.mark.parametrize(
    "words",
    [(group, member) for group, members in COMMANDS.items() for member in members]
    + [(command,) for command, members in COMMANDS.items() if not members],
)
def test_every_command_has_help_with_an_example(invoke: Invoked, words: tuple[str, ...]) -> None:
    """Whoever does not know a command can copy a line that works."""
    told = invoke(*words, "--help")
    assert told.exit_code == 0
    assert f"colonnade {' '.join(words)}" in told.stdout.partition("Example")[2]


def imported_by(*arguments: str) -> str:
    """The names of all modules that a command has imported when it ends."""
    look = (
        f"import sys\nfrom colonnade.cli import main\nsys.argv = ['colonnade', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit: print(sorted(sys.modules), file=sys.stderr)"
    )
    return subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, cwd=ROOT).stderr


def test_help_is_quick_because_it_imports_no_system() -> None:
    """No command's own modules, nor the libraries that these need, are imported to list the commands."""
    modules = imported_by("--help")
    assert "'colonnade.cli.program'" in modules
    for heavy in ("sqlalchemy", "structlog", "uvicorn", "apsw", "asyncio", "rich", "colonnade.system"):
        assert f"'{heavy}'" not in modules


def test_looking_into_stores_is_quick_because_no_system_is_built(parked: Path) -> None:
    """What only a system that runs needs is not imported."""
    modules = imported_by("dead-letters", "list", "--data", str(parked))
    assert "'colonnade.persistence.sqlite'" in modules
    for heavy in ("dishka", "uvicorn", "asyncpg", "colonnade.system.runtime"):
        assert f"'{heavy}'" not in modules


def test_the_version_is_told(invoke: Invoked) -> None:
    """That of the installed distribution."""
    assert invoke("--version").stdout == f"colonnade {version('colonnade')}\n"


def test_a_wrong_command_is_a_mistake_and_a_near_one_is_suggested(invoke: Invoked) -> None:
    """Exit status 2, as for every wrong use."""
    told = invoke("event", "list")
    assert told.exit_code == 2
    assert "No such command 'event'. Did you mean 'events'?" in told.stderr
    assert invoke("events", "list", "--limit", "none").exit_code == 2
    assert invoke("up").exit_code == 2


def test_the_shell_completes_commands_and_their_options() -> None:
    """Asked as bash asks."""

    def completed(line: str) -> list[str]:
        words = line.split(" ")
        look = "from colonnade.cli import main; main()"
        answer = subprocess.run(
            [sys.executable, "-c", look],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={
                "PATH": "",
                "_COLONNADE_COMPLETE": "complete_bash",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words) - 1),
            },
        )
        return answer.stdout.split()

    assert completed("colonnade dead") == ["dead-letters"]
    assert completed("colonnade events ") == ["list", "show", "tail"]
    assert "--json" in completed("colonnade events list --j")


def test_the_completion_that_is_shown_works_in_the_shell_that_asks() -> None:
    """What bash is shown it can read, and completes by it."""
    script = (
        'eval "$(colonnade --show-completion)"\n'
        "COMP_WORDS=(colonnade dead)\n"
        "COMP_CWORD=1\n"
        "_colonnade_completion colonnade\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    answer = subprocess.run(
        [BASH, "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path}, check=True
    )
    assert (answer.stdout, answer.stderr) == ("dead-letters\n", "")


def test_a_sound_system_is_checked(invoke: Invoked) -> None:
    """The count is told to people, and nothing to scripts."""
    checked = invoke("check", BAKERY)
    assert (checked.exit_code, checked.stdout) == (0, "bakery is sound: 2 services, 2 endpoints.\n")
    assert invoke("check", BAKERY, "--json").stdout == ""


def write_shop(folder: Path, *, domain: str = "", service: str = "Service('shop', handlers=[SellHandler])") -> None:
    """A user's project in `folder`: `acme.shop.service:system`."""
    package = folder / "acme" / "shop"
    (package / "domain").mkdir(parents=True)
    for path in (folder / "acme", package, package / "domain"):
        (path / "__init__.py").touch()
    (package / "contracts.py").touch()
    (package / "domain" / "till.py").write_text(domain)
    (package / "application.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Protocol\n"
        "from colonnade.messages import Command\n"
        "class Till(Protocol): ...\n"
        "class Sell(Command): ...\n"
        "@dataclass(frozen=True)\n"
        "class SellHandler:\n"
        "    till: Till\n"
        "    async def __call__(self, command: Sell) -> None: ...\n"
    )
    (package / "service.py").write_text(
        "from acme.shop import contracts\n"
        "from acme.shop.application import SellHandler\n"
        "from colonnade.system import Service, System\n"
        f"system = System('acme', [{service}])\n"
    )


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path, colonnade: Command) -> None:
    """Declarations, objects that nothing provides, and crossed borders, each with its place and remedy."""
    write_shop(
        tmp_path,
        domain="import sqlalchemy\n",
        service="Service('shop', contracts=contracts, handlers=[SellHandler])",
    )
    checked = colonnade("check", "acme.shop.service:system", cwd=tmp_path)
    assert checked.returncode == 1
    graph, border = checked.stdout.splitlines()
    assert graph.startswith("the service shop: ")
    assert "Till" in graph
    assert border.startswith(f"{tmp_path}/acme/shop/domain/till.py:1: acme.shop.domain.till imports sqlalchemy. ")
    assert checked.stderr == "acme has 2 mistakes.\n"
    told = json_lines(colonnade("check", "acme.shop.service:system", "--json", cwd=tmp_path).stdout)
    assert [each["place"] for each in told] == ["the service shop", f"{tmp_path}/acme/shop/domain/till.py:1"]
    assert all(each["reason"] and each["remedy"] for each in told)


def test_a_system_whose_declarations_contradict_each_other_is_told(tmp_path: Path, colonnade: Command) -> None:
    """Each mistake is a line; `up` refuses such a system in the same words."""
    write_shop(tmp_path, service="Service('shop'), Service('shop')")
    checked = colonnade("check", "acme.shop.service:system", cwd=tmp_path)
    assert checked.returncode == 1
    assert checked.stdout.startswith("the service shop: is declared twice; give each service its own name.")
    refused = colonnade("up", "acme.shop.service:system", "--port", "0", cwd=tmp_path)
    assert refused.returncode == 1
    assert "the service shop: is declared twice; give each service its own name." in refused.stderr


def test_routes_are_listed(invoke: Invoked) -> None:
    """Each with its method, its path at the gateway and the stored name of its message."""
    assert json_lines(invoke("routes", BAKERY, "--json").stdout) == [
        {"method": "POST", "path": "/api/baking/batches", "message": "baking.Bake"},
        {"method": "GET", "path": "/api/baking/batches/{batch_id}", "message": "baking.BatchById"},
    ]
    assert invoke("routes", BAKERY).stdout.splitlines()[1].split() == ["POST", "/api/baking/batches", "baking.Bake"]
    assert "/api/waiting/wait/…" in invoke("routes", "tests.example.waiting:waiting").stdout


def test_the_topology_is_drawn_from_the_code(invoke: Invoked) -> None:
    """Which messages go between which services, of which kind."""
    assert invoke("topology", BAKERY).stdout.splitlines() == [
        "flowchart LR",
        "    baking",
        "    selling",
        '    baking -->|"ClearShelf<br>StockShelf"| selling',
    ]
    assert json_lines(invoke("topology", BAKERY, "--json").stdout) == [
        {"from": "baking", "to": "selling", "kind": "command", "messages": ["ClearShelf", "StockShelf"]}
    ]


def test_events_are_drawn_towards_those_who_react(invoke: Invoked) -> None:
    """Commands and queries go to the service that answers, events the other way."""
    ways = json_lines(invoke("topology", "grocer.system:grocer", "--json").stdout)
    found = {(way["from"], way["to"], way["kind"]): way["messages"] for way in ways}
    assert "OrderConfirmed" in found["ordering", "inventory", "event"]
    assert "ReserveGoods" in found["ordering", "inventory", "command"]
    assert found["ordering", "catalog", "query"] == ["QuotePrices"]


def test_the_openapi_document_is_printed(invoke: Invoked) -> None:
    """A valid one, of one service; a service without endpoints has none."""
    document = json.loads(invoke("openapi", BAKERY, "baking", "--api-version", "7").stdout)
    validate(document)
    assert document["info"]["version"] == "7"
    assert "/api/baking/batches" in json.dumps(document)
    told = invoke("openapi", BAKERY, "selling")
    assert told.exit_code == 2
    assert "bakery has no service 'selling' with endpoints; there are baking." in " ".join(told.stderr.split())


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("bakery", "'bakery' is not of the form module:attribute"),
        (":bakery", "is not of the form module:attribute"),
        ("no_such_project.system:it", "There is no module 'no_such_project'"),
        ("tests.example.no_such:it", "There is no module 'tests.example.no_such'"),
        ("tests.example.bakery.system:shop", "has no attribute 'shop'; its systems are: bakery."),
        ("tests.example.bakery.baking:service", "is a Service, not a System; there is no System in that module."),
    ],
)
def test_a_wrong_name_is_a_mistake_in_the_command(invoke: Invoked, target: str, sentence: str) -> None:
    """The sentence says what is there instead."""
    told = invoke("routes", target)
    assert told.exit_code == 2
    boxed = " ".join(word for word in told.stderr.split() if word != "│")
    assert sentence in boxed


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: "),
    ],
)
def test_code_that_fails_when_it_is_imported_is_told_with_its_line(
    tmp_path: Path, colonnade: Command, code: str, sentence: str
) -> None:
    """One line in place of a traceback through the import machinery."""
    (tmp_path / "broken.py").write_text(f'"""A project."""\n{code}\n')
    told = colonnade("routes", "broken:system", cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.startswith("broken cannot be imported. At ")
    assert "broken.py:2: " in told.stderr
    assert sentence in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_system_can_be_an_attribute_of_an_attribute(invoke: Invoked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module may keep its systems in an object of its own."""
    from tests.example import waiting

    class Systems:
        quiet = System("quiet", [])

    monkeypatch.setattr(waiting, "systems", Systems, raising=False)
    assert invoke("routes", "tests.example.waiting:systems.quiet").stdout == "quiet has no endpoints.\n"
