"""The command line. Each command is imported only when it is used."""

from colonnade.cli.program import app

__all__ = ["main"]


def main() -> None:
    """Run the program `colonnade`."""
    app(prog_name="colonnade")
