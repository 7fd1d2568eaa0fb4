"""`colonnade sagas`: where long transactions stand, and taking stuck ones further."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import typer

from colonnade.cli.acting import act
from colonnade.cli.data import DEFAULT_DATA, READING_FAILURES, Data, OfService, OfTenant, of_tenant
from colonnade.cli.failure import fail, told
from colonnade.cli.output import AsJson, console, json_of, moment, print_json, print_table, visible
from colonnade.cli.saga_records import SagaOnRecord, Shown, find_saga, list_sagas, told_event
from colonnade.system.admin.operations import SteerSaga
from colonnade.workers.sagas.history import End
from colonnade.world import datetime_of

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="See sagas, and take stuck ones further.",
)

_Stream = Annotated[
    str, typer.Argument(metavar="SAGA/ID", help="The saga, like FulfilOrder/0192….", show_default=False)
]


@app.command("list")
def list_(
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    service: OfService = None,
    saga: Annotated[str | None, typer.Option(help="Of this definition only.", show_default=False)] = None,
    state: Annotated[
        Shown, typer.Option(help="live: has not ended; stuck: could not be undone; or how it ended.")
    ] = Shown.LIVE,
    limit: Annotated[int, typer.Option("--limit", "-l", help="At most so many, the newest.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List sagas with what each waits for.

    [bold]Examples[/bold]

        colonnade sagas list

        colonnade sagas list --state stuck --json
    """
    with told(*READING_FAILURES):
        found = asyncio.run(list_sagas(of_tenant(data, tenant), service, saga, state, limit))
    if as_json:
        for each in found:
            print_json(each.as_json())
        return
    columns = ("service", "saga", "started", "state", "waits for", "why")
    rows = [
        (
            each.service,
            f"{each.name}/{each.instance.id}",
            moment(each.events[0].time),
            each.state,
            ", ".join(each.waits_for),
            each.why,
        )
        for each in found
    ]
    print_table(columns, rows, "There are no such sagas.")


@app.command()
def show(stream: _Stream, data: Data = DEFAULT_DATA, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Show one saga: its steps, and what happened when.

    [bold]Example[/bold]

        colonnade sagas show FulfilOrder/0192…
    """
    with told(*READING_FAILURES):
        saga = _found(of_tenant(data, tenant), stream)
    if as_json:
        history = [
            {"time": datetime_of(event.time), "event": type(what).__name__, "data": json_of(event.data)}
            for event, what in zip(saga.events, saga.history, strict=True)
        ]
        print_json(saga.as_json() | {"history": history})
        return
    out = console()
    out.print(visible(f"{stream} of {saga.service}: {saga.state}"), markup=False)
    if saga.why is not None:
        out.print(visible(f"because of {saga.why}"), markup=False)
    out.print()
    print_table(("step", "state"), [(step, state.value) for step, state in saga.instance.steps.items()], "No steps.")
    out.print()
    rows = [(moment(event.time), told_event(what)) for event, what in zip(saga.events, saga.history, strict=True)]
    print_table(("time", "what happened"), rows, "Nothing happened.")


@app.command()
def retry(stream: _Stream, data: Data = DEFAULT_DATA, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Ask again for all that is outstanding, or could not be undone.

    [bold]Example[/bold]

        colonnade sagas retry FulfilOrder/0192…
    """
    _steer(stream, of_tenant(data, tenant), "retry", None, as_json=as_json)


@app.command()
def skip(
    stream: _Stream,
    step: Annotated[str, typer.Argument(help="The id of the step.", show_default=False)],
    data: Data = DEFAULT_DATA,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Count an outstanding step as done, or an outstanding undoing as undone.

    [bold]Example[/bold]

        colonnade sagas skip FulfilOrder/0192… "book delivery"
    """
    _steer(stream, of_tenant(data, tenant), "skip", step, as_json=as_json)


@app.command()
def compensate(stream: _Stream, data: Data = DEFAULT_DATA, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Undo what was done, whatever the saga waits for.

    [bold]Example[/bold]

        colonnade sagas compensate FulfilOrder/0192…
    """
    _steer(stream, of_tenant(data, tenant), "compensate", None, as_json=as_json)


@app.command()
def close(stream: _Stream, data: Data = DEFAULT_DATA, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """End a saga as it stands; nothing more is done or undone.

    [bold]Example[/bold]

        colonnade sagas close FulfilOrder/0192…
    """
    _steer(stream, of_tenant(data, tenant), "close", None, as_json=as_json)


def _steer(
    stream: str,
    data: Path,
    action: Literal["retry", "skip", "compensate", "close"],
    step: str | None,
    *,
    as_json: bool,
) -> None:
    with told(*READING_FAILURES):
        saga = _found(data, stream)
    if step is not None and step not in saga.instance.steps:
        fail(f"{stream} has no step {step!r}; its steps are {', '.join(map(repr, saga.instance.steps))}.")
    end = saga.instance.end
    if end in (End.COMPLETED, End.COMPENSATED) or (end is not None and action == "compensate"):
        fail(f"{stream} has ended: {end}.")
    operation = SteerSaga(saga.service, saga.name, saga.instance.id, action, step)
    act(data, operation, title="Steering", as_json=as_json)


def _found(data: Path, stream: str) -> SagaOnRecord:
    try:
        UUID(stream.partition("/")[2])
    except ValueError:
        raise typer.BadParameter(f"{stream!r} is not of the form SAGA/ID, like FulfilOrder/0192….") from None
    saga = asyncio.run(find_saga(data, stream))
    if saga is None:
        fail(f"There is no saga {stream}; see colonnade sagas list --state all.")
    return saga
