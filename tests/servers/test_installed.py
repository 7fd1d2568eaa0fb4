"""Where servers are found that no wheel brings."""

import os
from pathlib import Path

import pytest

from colonnade.system.hosts.servers import installed as module
from colonnade.system.hosts.servers.installed import NotInstalled, installed, kafka_jars


def test_the_kafka_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jars lie beside its programs, also where a link leads to those."""
    kafka, links = tmp_path / "kafka", tmp_path / "links"
    for folder in (kafka / "bin", kafka / "libs", links):
        folder.mkdir(parents=True)
    starter = kafka / "bin" / "kafka-server-start.sh"
    starter.touch(mode=0o755)
    (links / starter.name).symlink_to(starter)
    monkeypatch.setenv("PATH", str(links))
    assert kafka_jars() == kafka / "libs"


def test_what_was_fetched_is_taken_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder that one is in, and else in the checkout; where it is not, the remedy is told."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "_CHECKOUT", tmp_path / "checkout")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotInstalled, match="Kafka cannot be started here, as its jars are not there: make servers"):
        kafka_jars()
    for folder in (tmp_path / "checkout", tmp_path):
        jars = folder / ".servers" / "kafka" / "jars"
        jars.mkdir(parents=True)
        assert kafka_jars() == jars


def test_a_program_is_found_where_debian_puts_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Though that is not on the path; one that is not there is told with its package."""
    program = tmp_path / "served"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(module, "_FOLDERS", [str(tmp_path)])
    assert installed("Served", "served", "served-server") == program
    with pytest.raises(NotInstalled, match="as eaten is not installed: make servers, or apt-get install eaten-server"):
        installed("Eaten", "eaten", "eaten-server")
