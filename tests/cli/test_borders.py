"""The layers inside a service and the borders between services."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colonnade.cli import borders
from colonnade.cli.borders import borrowed, crossings


class Project:
    """A user's project on disk: modules with nothing but imports."""

    def __init__(self, root: Path) -> None:
        self.root = root / "acme"

    def write(self, module: str, *lines: str) -> Path:
        """Write `acme.<module>`."""
        path = self.root.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in [path.parent, *path.parent.parents]:
            if folder == self.root.parent:
                break
            (folder / "__init__.py").touch()
        path.write_text("\n".join(lines) + "\n")
        return path

    def found(self) -> list[tuple[str, int, str]]:
        """Importer, line and imported of each crossing."""
        return [(each.importer, each.line, each.imported) for each in crossings(["acme.ordering", "acme.catalog"])]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A sound project of two services."""
    project = Project(tmp_path)
    project.write("kernel", "from colonnade.messages import Value")
    project.write("catalog.contracts", "from colonnade.messages import Query", "from acme.kernel import Money")
    project.write("catalog.domain.product", "import decimal", "from acme.catalog import contracts")
    project.write("ordering.contracts", "from uuid import UUID", "from colonnade.messages import Event")
    project.write(
        "ordering.domain.order",
        "from __future__ import annotations",
        "from collections.abc import Sequence",
        "from colonnade.domain import Aggregate",
        "from colonnade.messages import Event",
        "from acme import kernel",
        "from acme.ordering.contracts import OrderPlaced",
        "from .prices import total_of",
    )
    project.write("ordering.domain.prices", "from ..contracts import OrderLine")
    project.write(
        "ordering.application.orders",
        "from colonnade.application import Repository",
        "from acme.catalog.contracts import QuotePrices",
        "from acme.ordering.domain.order import Order",
    )
    project.write("ordering.infrastructure.history", "import sqlalchemy", "from ..application import orders")
    project.write("ordering.presentation.api", "from acme.ordering.application.orders import PlaceOrder")
    project.write(
        "ordering.service",
        "from acme.ordering import contracts",
        "from acme.ordering.infrastructure import history",
        "from acme.ordering.presentation.api import api",
    )
    monkeypatch.syspath_prepend(tmp_path)
    borders._is_module.cache_clear()
    yield project
    for module in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[module]
    borders._is_module.cache_clear()


def test_a_sound_project_crosses_nothing(project: Project) -> None:
    """What the layers allow is not told."""
    assert project.found() == []


@pytest.mark.parametrize(
    ("module", "line", "imported"),
    [
        ("ordering.domain.order", "import sqlalchemy", "sqlalchemy"),
        ("ordering.domain.order", "from colonnade.application import Repository", "colonnade.application"),
        ("ordering.domain.order", "import colonnade", "colonnade"),
        ("ordering.domain.order", "from acme.ordering.application import orders", "acme.ordering.application.orders"),
        ("ordering.domain.order", "from ..application.orders import PlaceOrder", "acme.ordering.application.orders"),
        ("ordering.domain.order", "from acme.catalog.contracts import Product", "acme.catalog.contracts"),
        ("ordering.contracts", "import pydantic", "pydantic"),
        ("ordering.contracts", "from acme.ordering.domain.order import Order", "acme.ordering.domain.order"),
        ("ordering.contracts", "from colonnade.domain import Invalid", "colonnade.domain"),
        ("ordering.application.orders", "from ..infrastructure import history", "acme.ordering.infrastructure.history"),
        ("ordering.application.orders", "from acme.ordering import service", "acme.ordering.service"),
        ("ordering.infrastructure.history", "import acme.ordering.presentation.api", "acme.ordering.presentation.api"),
        ("ordering.presentation.api", "from ..infrastructure.history import x", "acme.ordering.infrastructure.history"),
        ("ordering.presentation.api", "from acme.catalog.domain import product", "acme.catalog.domain.product"),
        ("ordering.service", "from acme.catalog import domain", "acme.catalog.domain"),
    ],
)
def test_an_import_across_a_border_is_told_with_its_line(
    project: Project, module: str, line: str, imported: str
) -> None:
    """Wherever it stands: the rule holds for what is imported, however that is written."""
    path = project.write(module, "import typing", "", "def late() -> None:", f"    {line}")
    assert project.found() == [(f"acme.{module}", 4, imported)]
    (crossing,) = crossings(["acme.ordering", "acme.catalog"])
    assert str(crossing).startswith(f"{path}:4: acme.{module} imports {imported}. ")


def test_a_crossing_says_the_rule_and_the_remedy(project: Project) -> None:
    """The sentence is enough to mend it."""
    project.write("ordering.application.orders", "from acme.catalog.domain.product import Product")
    project.write("ordering.domain.order", "import sqlalchemy")
    sentences = [str(each) for each in crossings(["acme.ordering", "acme.catalog"])]
    assert sentences[0].endswith(
        "Between services only contracts may be imported; use a message of acme.catalog.contracts, through the "
        "Mediator or the Outbox."
    )
    assert sentences[1].endswith(
        "domain may import only the standard library, colonnade.domain, colonnade.messages, the kernel and what lies "
        "within it; define a port in application and its adapter in infrastructure."
    )


def test_nothing_of_the_project_is_imported(project: Project) -> None:
    """Code is read, not run: a module that would fail or act when imported is judged all the same."""
    project.write("ordering.domain.order", "import sqlalchemy", "raise SystemExit('imported')")
    assert project.found() == [("acme.ordering.domain.order", 1, "sqlalchemy")]


def test_a_service_within_the_package_of_another_is_a_service_of_its_own(project: Project) -> None:
    """The longest package name decides whose a module is."""
    project.write("ordering.returns.contracts", "from colonnade.messages import Event")
    project.write("ordering.returns.domain.goods", "from acme.ordering.domain.order import Order")
    found = crossings(["acme.ordering", "acme.ordering.returns"])
    assert [(each.importer, each.imported) for each in found] == [
        ("acme.ordering.returns.domain.goods", "acme.ordering.domain.order")
    ]


def test_what_a_service_uses_of_another_is_known_by_name(project: Project) -> None:
    """Only what comes out of contracts; a module itself names nothing."""
    project.write(
        "ordering.infrastructure.prices",
        "import acme.catalog.contracts",
        "from acme.catalog import contracts",
        "from acme.catalog.contracts import ProductById",
    )
    assert borrowed(["acme.ordering", "acme.catalog"]) == {
        ("acme.ordering", "acme.catalog", "QuotePrices"),
        ("acme.ordering", "acme.catalog", "ProductById"),
    }
