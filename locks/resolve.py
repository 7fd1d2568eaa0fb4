"""Writes the lock files: versions and hashes of all that each purpose installs, and no addresses."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

LOCKS = {"run": ["build"], "dev": ["build", "test"], "bench": ["build", "bench"]}


def main() -> None:
    """Resolve each lock; versions that are locked already stay unless `--upgrade` is given.

    `run` comes first and binds the others: what is tested and measured is what runs.
    """
    for name, groups in LOCKS.items():
        command = [
            str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--generate-hashes", "--universal",
            "--python-version", "3.11", "--no-annotate", "--no-header", "--no-emit-index-url",
            "--no-emit-package", "colonnade", "--no-emit-package", "grocer",
            "--output-file", str(HERE / f"{name}.txt"), *sys.argv[1:],
            *(["--constraints", str(HERE / "run.txt")] if name != "run" else []),
            *[argument for group in groups for argument in ("--group", f"pyproject.toml:{group}")],
            "pyproject.toml", "grocer/pyproject.toml",
        ]  # fmt: skip
        subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - a fixed command


if __name__ == "__main__":
    main()
