"""The command line. Each command is imported only when it is used."""

__all__ = ["main"]


def main() -> None:
    """Run the program `colonnade`."""
    from colonnade.cli.program import app  # a process of a fleet is in this package too, and needs none of it

    app(prog_name="colonnade")
