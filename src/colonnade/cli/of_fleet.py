"""Operations on a fleet that runs."""

import sys
from pathlib import Path

from colonnade.cli.acting import shown
from colonnade.cli.failure import fail, told
from colonnade.system.admin.operations import ReplaceInstances, ScaleService
from colonnade.system.admin.socket import HostNotRunning, ask_host

__all__ = ["act_on_fleet"]


def act_on_fleet(directory: Path, operation: ScaleService | ReplaceInstances, *, title: str, as_json: bool) -> None:
    """Have `operation` carried out and show how it goes; ends with status 1 when it fails."""
    with told(PermissionError):
        try:
            finished = shown(ask_host(directory, operation), title, as_json=as_json)
        except HostNotRunning:
            fail(
                f"No fleet runs on {directory}; name its data directory with --data, or start one with "
                "colonnade up SYSTEM --fleet."
            )
    if not as_json and finished is not None:
        sys.stdout.write(f"{finished.summary}\n")
