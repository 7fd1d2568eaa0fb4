"""Writes the lock files: versions and hashes of all that each purpose installs, and no addresses."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

EXTRAS = ["postgres", "nats", "rabbitmq", "kafka", "valkey", "servers"]

LOCKS = {
    "run": (["build"], []),
    "fleet": (["build"], EXTRAS),
    "dev": (["build", "test"], EXTRAS),
    "bench": (["build", "bench"], EXTRAS),
}
"""What each purpose installs beside the projects themselves: groups and extras."""


def main() -> None:
    """Resolve each lock; versions that are locked already stay unless `--upgrade` is given.

    `run` comes first and binds the others, then `fleet`: what is tested and measured is what runs.
    Extras stay in the lock: pip takes the pin of `coverage` for no pin of `coverage[toml]`, which pytest-cov asks for.
    """
    bound: list[str] = []
    for name, (groups, extras) in LOCKS.items():
        command = [
            str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--generate-hashes", "--universal",
            "--python-version", "3.11", "--no-annotate", "--no-header", "--no-emit-index-url", "--no-strip-extras",
            "--no-emit-package", "colonnade", "--no-emit-package", "grocer",
            "--output-file", str(HERE / f"{name}.txt"), *sys.argv[1:],
            *[argument for each in bound for argument in ("--constraints", str(HERE / f"{each}.txt"))],
            *[argument for group in groups for argument in ("--group", f"pyproject.toml:{group}")],
            *[argument for extra in extras for argument in ("--extra", extra)],
            "pyproject.toml", "grocer/pyproject.toml",
        ]  # fmt: skip
        subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - a fixed command
        if name in ("run", "fleet"):
            bound.append(name)


if __name__ == "__main__":
    main()
