"""`colonnade openapi`: a service's endpoints as an OpenAPI document."""

from typing import Annotated

import msgspec
import typer

from colonnade.cli.failure import told
from colonnade.cli.target import Target, load_system
from colonnade.presentation import openapi_document
from colonnade.system import InvalidSystem
from colonnade.system.topology import topology_of
from colonnade.system.wiring import answer_of

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def openapi(
    target: Target,
    service: Annotated[str, typer.Argument(help="The service.", show_default=False)],
    api_version: Annotated[str, typer.Option(help="The version that the document states.")] = "1",
) -> None:
    """Print the OpenAPI 3.1 document of a service, as JSON.

    [bold]Example[/bold]

        colonnade openapi grocer.system:grocer ordering > ordering.json
    """
    system = load_system(target)
    with told(InvalidSystem):
        topology_of(system)
    apis = {each.name: each.api for each in system.services if each.api is not None}
    if service not in apis:
        raise typer.BadParameter(
            f"{system.name} has no service {service!r} with endpoints; there are {', '.join(apis) or 'none'}."
        )
    api = apis[service]
    answers = {endpoint.message: answer_of(endpoint.message) for endpoint in api.endpoints}
    document = openapi_document(service, api_version, api, answers, f"/api/{service}")
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
