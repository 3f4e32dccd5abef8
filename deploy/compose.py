"""A project of docker-compose.yml that runs for a test: whichever compose there is, v2 or v1."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learndrop.errors import DidNotStart

ROOT = Path(__file__).resolve().parent.parent
ASK_EVERY_S = 0.5


def find_compose() -> list[str]:
    """The command of compose, with an engine that answers.

    Raises:
        DidNotStart: there is no engine, or no compose; one line.
    """
    if _says(["docker", "info", "--format", "{{.ServerVersion}}"]) is None:
        raise DidNotStart("no Docker engine answers here (`docker info` fails): nothing was tested")
    for command in (["docker", "compose"], ["docker-compose"]):
        if _says([*command, "version"]) is not None:
            return command
    raise DidNotStart("neither `docker compose` nor `docker-compose` is here: nothing was tested")


def _says(command: Sequence[str]) -> str | None:
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() if told.returncode == 0 else None


class Compose:
    """One project: a name of its own, so that it meddles with no other.

    `skip` names services that are left out; `environment` is what the compose file reads.
    """

    def __init__(
        self, project: str, environment: Mapping[str, str], skip: Sequence[str] = ()
    ) -> None:
        self.project, self.skip = project, tuple(skip)
        self._command = [*find_compose(), "--project-name", project]
        self._environment = os.environ | dict(environment)
        services = self.run("config", "--services", quiet=True).split()
        self.services = [name for name in services if name not in self.skip]

    def run(self, *arguments: str, quiet: bool = False) -> str:
        """Run compose; returns its output when `quiet`, else shows it.

        Raises:
            DidNotStart: it failed.
        """
        return self._run([*self._command, *arguments], quiet)

    def build(self, network: str = "") -> None:
        """Build both images; with `network`, by the engine itself on that network."""
        if not network:
            self.run("build")
            return
        text = (ROOT / "docker-compose.yml").read_text()
        for image, name in re.findall(r"image: (learndrop/(\w+):\S+)", text):
            self._run(
                [
                    *("docker", "build", "--network", network, "--file", "deploy/Dockerfile"),
                    *("--target", name, "--tag", image, "."),
                ]
            )

    def up(self) -> None:
        """Create and start everything but what is skipped."""
        self.run("up", "--detach", "--no-build", *self.services)

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        self.run("down", "--volumes", "--remove-orphans")

    def restart(self, service: str) -> None:
        """Stop the service as its stop_grace_period says, and start it again."""
        self.run("restart", service)

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of the service's container."""
        container = self.run("ps", "-q", service, quiet=True).strip()
        told = self._run(["docker", "inspect", container], quiet=True)
        found: dict[str, Any] = json.loads(told)[0]
        return found

    def wait_healthy(self, service: str, within_s: float) -> None:
        """Wait until the service's health check passes.

        Raises:
            DidNotStart: not within `within_s`; the last lines of its log are told.
        """
        deadline = time.monotonic() + within_s
        while (state := self.inspect(service)["State"])["Health"]["Status"] != "healthy":
            if time.monotonic() > deadline:
                raise DidNotStart(
                    f"{service} is {state['Status']} and {state['Health']['Status']} after"
                    f" {within_s:g} s:\n{self.logs(service)}"
                )
            time.sleep(ASK_EVERY_S)

    def execute(self, service: str, *command: str) -> int:
        """Run a command in the service's container; its exit status."""
        words = [*self._command, "exec", "-T", service, *command]
        return subprocess.run(
            words, cwd=ROOT, env=self._environment, capture_output=True
        ).returncode

    def logs(self, service: str, lines: int = 20) -> str:
        """The last lines of the service's log."""
        return self.run("logs", "--no-color", "--tail", str(lines), service, quiet=True)

    def _run(self, command: Sequence[str], quiet: bool = False) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
        )
        if done.returncode != 0:
            raise DidNotStart(
                f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr or 'see above'}"
            )
        return done.stdout or ""
