"""`colonnade routes`: the HTTP endpoints of a system."""

import typer

from colonnade.cli.failure import told
from colonnade.cli.output import AsJson, print_json, print_table
from colonnade.cli.target import Target, load_system
from colonnade.system import InvalidSystem
from colonnade.system.topology import topology_of

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def routes(target: Target, as_json: AsJson = False) -> None:
    """List the HTTP endpoints of a system, as the gateway serves them.

    [bold]Examples[/bold]

        colonnade routes grocer.system:grocer

        colonnade routes grocer.system:grocer --json
    """
    system = load_system(target)
    with told(InvalidSystem):
        names = topology_of(system).names
    found = []
    for service in system.services:
        prefix = f"/api/{service.name}"
        for endpoint in service.api.endpoints if service.api is not None else ():
            name = names.name_of(endpoint.message)
            found.append((endpoint.method, f"{prefix}{endpoint.path}", name))
        for mount in service.api.mounts if service.api is not None else ():
            found.append(("*", f"{prefix}{mount.path}/…", type(mount.app).__name__))
    if as_json:
        for method, path, message in found:
            print_json({"method": method, "path": path, "message": message})
    else:
        print_table(("method", "path", "message"), found, f"{system.name} has no endpoints.")
