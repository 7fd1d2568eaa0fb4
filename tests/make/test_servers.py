"""`make servers` gets what it can, and tells the rest."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "make" / "servers.py"


def test_what_cannot_be_had_is_no_failure(tmp_path: Path) -> None:
    """Without Maven there is no Kafka, and the reason is told."""
    script = tmp_path / "make" / "servers.py"
    script.parent.mkdir()
    script.write_text(SCRIPT.read_text())
    done = subprocess.run([sys.executable, script], env={"PATH": ""}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (
        "Kafka: not to be had: mvn is not installed: Maven and Java 17 are needed; tests that need it are skipped"
    )
    assert not (tmp_path / ".servers").exists()


def test_who_is_not_root_is_told_what_to_type(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried that cannot succeed."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _apt_get(tools, "exit 0")
    with pytest.raises(Exception, match="only root can: sudo apt-get install --no-install-recommends no-such-package"):
        _packages(tools)


def test_packages_start_no_services(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While they are installed a policy forbids it; then the policy is gone, also when apt-get fails."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    _apt_get(tools, f'[ -x {tools}/policy-rc.d ] || exit 9; [ "$1" = update ] || {{ echo "it is locked"; exit 100; }}')
    with pytest.raises(Exception, match="apt-get failed: it is locked"):
        _packages(tools)
    assert not (tools / "policy-rc.d").exists()
    _apt_get(tools, f'[ -x {tools}/policy-rc.d ] && echo "$@" >> {tools}/asked')
    assert _packages(tools) == "installed no-such-package"
    assert (tools / "asked").read_text().splitlines()[1] == "install -y -qq --no-install-recommends no-such-package"
    assert not (tools / "policy-rc.d").exists()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is on the path, but for the shell's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    return tmp_path


def _apt_get(tools: Path, does: str) -> None:
    """Put an `apt-get` there that does so."""
    program = tools / "apt-get"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)


def _packages(tools: Path) -> str:
    """What the script does about a package that nobody has."""
    script: dict[str, Any] = runpy.run_path(str(SCRIPT))
    get = script["get_packages"]
    get.__globals__.update(PACKAGES={"no-such-package": "no-such-program"}, POLICY=tools / "policy-rc.d")
    told: str = get()
    return told
