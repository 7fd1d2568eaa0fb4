"""The program `colonnade`: its commands, by name and one sentence each."""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["app"]

_COMMANDS = {
    "up": "Start a system in this process, its stores embedded.",
    "scale": "Let a service of a fleet have more or fewer instances.",
    "replace": "Start the instances of a fleet anew, one by one.",
    "migrate": "Take the tables of services to the version of their code.",
    "check": "Check a system, and the borders in its code.",
    "routes": "List the HTTP endpoints of a system.",
    "topology": "Draw what the services of a system say to each other.",
    "openapi": "Print the OpenAPI document of a service.",
    "events": "Read what happened: list, show, tail.",
    "projections": "See how far read models are, and rebuild them.",
    "sagas": "See sagas, and take stuck ones further.",
    "dead-letters": "See messages that failed for good; retry or discard them.",
    "lost": "See messages that no producer has any more; pass over them.",
}


class _OnDemand(TyperGroup):
    """Knows the names of all commands, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update({name: TyperCommand(name, help=help) for name, help in _COMMANDS.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # Any: typer's own types are not public
        name, command, rest = super().resolve_command(ctx, args)
        if name in _COMMANDS:
            module = import_module(f"colonnade.cli.{name.replace('-', '_')}")
            command = typer.main.get_command(module.app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    cls=_OnDemand,
    no_args_is_help=True,
    rich_markup_mode=None,  # half the time of `colonnade --help` would go into importing what draws boxes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # costs every other command 15 ms

        typer.echo(f"colonnade {version('colonnade')}")
        raise typer.Exit


@app.callback()
def colonnade(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Build and run systems of services.

    A system is named by where its code is: module:attribute, like grocer.system:grocer.
    """
