"""Gets the servers that no wheel brings: `make servers`. Tests start them, and fleets on RabbitMQ or Kafka.

RabbitMQ, PgBouncer and Varnish come from Debian's packages (when root, on Debian), Kafka from Maven's artifacts (where
Maven and Java are there). What cannot be had is told with the reason, and its tests are skipped; that is no failure.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

PACKAGES = {"rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server", "pgbouncer": "pgbouncer", "varnish": "varnishd"}
"""Debian's packages, and the program that shows that one is installed."""

SERVERS = Path(__file__).resolve().parent.parent / ".servers"

POLICY = Path("/usr/sbin/policy-rc.d")
"""What Debian's packages ask whether they may start their services; see invoke-rc.d(8)."""

KAFKA = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>colonnade</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version></dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""


class Unavailable(Exception):
    """Something cannot be had here."""


def main() -> None:
    """Get what can be had, and tell the rest."""
    for name, get in (("RabbitMQ, PgBouncer, Varnish", get_packages), ("Kafka", get_kafka)):
        try:
            print(f"{name}: {get()}")
        except Unavailable as unavailable:
            print(f"{name}: not to be had: {unavailable}; tests that need it are skipped")


def get_packages() -> str:
    """Install Debian's packages, without starting their services."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    missing = [package for package, program in PACKAGES.items() if shutil.which(program, path=path) is None]
    if not missing:
        return "installed"
    if shutil.which("apt-get") is None:
        raise Unavailable(f"this is no Debian; install {', '.join(missing)} by hand")
    if os.geteuid() != 0:
        raise Unavailable(f"only root can: sudo apt-get install --no-install-recommends {' '.join(missing)}")
    forbidden = not POLICY.exists()
    if forbidden:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], quiet)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], quiet)
    finally:
        if forbidden:
            POLICY.unlink()
    return f"installed {', '.join(missing)}"


def get_kafka() -> str:
    """Fetch Kafka's jars, unless these very ones are there."""
    folder = SERVERS / "kafka"
    done = folder / "pom.xml"
    if done.exists() and done.read_text() == KAFKA:
        return "there"
    for program in ("mvn", "java"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed: Maven and Java 17 are needed")
    making = SERVERS / "kafka.new"
    for left in (making, folder):
        shutil.rmtree(left, ignore_errors=True)
    making.mkdir(parents=True)
    pom = making / "pom.xml"
    pom.write_text(KAFKA)
    run(["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={making / 'jars'}"])
    making.rename(folder)
    return f"fetched {len(list((folder / 'jars').glob('*.jar')))} jars"


def run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run `command` to its end; raises `Unavailable` with what it said last."""
    done = subprocess.run(  # noqa: S603 - the commands above
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise Unavailable(f"{command[0]} failed: {' '.join(last)}")


if __name__ == "__main__":
    main()
