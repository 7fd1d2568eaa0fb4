"""The layers inside a service and the borders between services, checked by the imports of their code."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

__all__ = ["Crossing", "borrowed", "crossings"]

_LAYERS = ("contracts", "domain", "application", "infrastructure", "presentation", "service")

# What each layer may import of its own service
_INWARD: Mapping[str, frozenset[str]] = {
    "contracts": frozenset({"contracts"}),
    "domain": frozenset({"contracts", "domain"}),
    "application": frozenset({"contracts", "domain", "application"}),
    "infrastructure": frozenset({"contracts", "domain", "application", "infrastructure"}),
    "presentation": frozenset({"contracts", "domain", "application", "presentation"}),
    "service": frozenset(_LAYERS),
}

# What the inner layers may import from outside: of Colonnade, and nothing else but the standard library
_PURE: Mapping[str, tuple[str, ...]] = {
    "contracts": ("colonnade.messages",),
    "domain": ("colonnade.domain", "colonnade.messages"),
}

_KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Crossing:
    """One import that crosses a border: where, what, the rule, and what to do instead."""

    path: Path
    line: int
    importer: str
    imported: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.importer} imports {self.imported}. {self.rule}; {self.remedy}."


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    service: str
    """The package of the service that it belongs to."""
    layer: str | None
    path: Path


def crossings(packages: Sequence[str]) -> list[Crossing]:
    """All crossings in the code of services, each given by its package; found without importing anything."""
    return [
        crossing
        for package in packages
        for module in _modules(package, packages)
        for each in _imports(module)
        if (crossing := _judged(module, each.line, each.module, packages)) is not None
    ]


def borrowed(packages: Sequence[str]) -> set[tuple[str, str, str]]:
    """What services use of each other: the package that imports, the one whose contracts it imports, the name."""
    return {
        (package, lender, each.name)
        for package in packages
        for module in _modules(package, packages)
        for each in _imports(module)
        if each.name is not None
        and (lender := _owner(each.module, packages)) is not None
        and lender != package
        and each.module == f"{lender}.contracts"
    }


def _judged(module: _Module, line: int, imported: str, packages: Sequence[str]) -> Crossing | None:
    theirs = _owner(imported, packages)
    if theirs is not None and theirs != module.service:
        if imported == f"{theirs}.contracts" or imported.startswith(f"{theirs}.contracts."):
            if module.layer not in _PURE:
                return None
            rule = f"The {module.layer} of a service knows no other service"
            return _crossing(module, line, imported, rule, "translate between the two in infrastructure")
        return _crossing(
            module,
            line,
            imported,
            "Between services only contracts may be imported",
            f"use a message of {theirs}.contracts, through the Mediator or the Outbox",
        )
    if module.layer is None:
        return None
    if theirs == module.service:
        layer = _layer(imported, theirs)
        if layer is None or layer in _INWARD[module.layer]:
            return None
        allowed = ", ".join(name for name in _LAYERS if name in _INWARD[module.layer])
        return _crossing(
            module,
            line,
            imported,
            f"{module.layer} may import only {allowed} of its own service",
            f"define a port in application, or move the code to {layer}",
        )
    if module.layer in _PURE and not _is_pure(imported, module, _PURE[module.layer]):
        known = ", ".join(("the standard library", *_PURE[module.layer], "the kernel"))
        return _crossing(
            module,
            line,
            imported,
            f"{module.layer} may import only {known} and what lies within it",
            "define a port in application and its adapter in infrastructure",
        )
    return None


def _crossing(module: _Module, line: int, imported: str, rule: str, remedy: str) -> Crossing:
    return Crossing(module.path, line, module.name, imported, rule, remedy)


def _is_pure(imported: str, module: _Module, allowed: Sequence[str]) -> bool:
    if imported.partition(".")[0] in sys.stdlib_module_names:
        return True
    parent = module.service.rpartition(".")[0]
    kernel = f"{parent}.{_KERNEL}" if parent else _KERNEL
    return any(imported == name or imported.startswith(f"{name}.") for name in (*allowed, kernel))


def _modules(package: str, packages: Sequence[str]) -> Iterator[_Module]:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            # A service may lie within the package of another: its modules are its own
            if _owner(name, packages) == package:
                yield _Module(name, package, _layer(name, package), path)


def _owner(module: str, packages: Sequence[str]) -> str | None:
    owners = [package for package in packages if module == package or module.startswith(f"{package}.")]
    return max(owners, key=len, default=None)


def _layer(module: str, package: str) -> str | None:
    first = module.removeprefix(f"{package}.").partition(".")[0]
    return first if first in _LAYERS else None


class _Import(NamedTuple):
    line: int
    module: str
    name: str | None
    """What is taken out of the module, where it is not the module itself."""


def _imports(module: _Module) -> Iterator[_Import]:
    for node in ast.walk(ast.parse(module.path.read_bytes(), str(module.path))):
        if isinstance(node, ast.Import):
            yield from (_Import(node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node.module or "", node.level)
            for alias in node.names:
                # `from package import module` names the module, `from module import name` what it is in
                below = f"{base}.{alias.name}"
                if _is_module(below):
                    yield _Import(node.lineno, below, None)
                else:
                    yield _Import(node.lineno, base, alias.name)


@cache
def _is_module(name: str) -> bool:
    # Looked for on disk: to ask the import system would import the packages above it
    root, *parts = name.split(".")
    spec = find_spec(root)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder).joinpath(*parts)
        if path.is_dir() or path.with_name(f"{path.name}.py").is_file():
            return True
    return False


def _absolute(module: _Module, source: str, level: int) -> str:
    if not level:
        return source
    package = module.name.split(".")
    if module.path.name != "__init__.py":
        package.pop()
    above = package[: len(package) - level + 1]
    return ".".join([*above, source] if source else above)
