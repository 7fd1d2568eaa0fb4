"""Servers that no wheel brings: Debian's packages, or what was fetched beside the checkout; only tests use them."""

import shutil
from pathlib import Path

import pytest

__all__ = ["installed"]

_FOLDERS = ("/usr/sbin", "/usr/local/sbin")
"""Where Debian puts servers, though it is not on everybody's path."""


def installed(program: str, package: str) -> Path:
    """The file of `program`; skips the test, with the reason, where its package is not installed."""
    found = shutil.which(program) or shutil.which(program, path=":".join(_FOLDERS))
    if found is None:
        pytest.skip(f"{program} is not installed: make servers, or apt-get install {package}")
    return Path(found)
