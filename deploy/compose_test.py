"""`make compose-test`: docker-compose.yml built, brought up, used, restarted and taken down.

Needs a Docker engine and compose (v2 or v1). Variables:
  COMPOSE_TEST_SKIP=grafana          services to leave out, where their image cannot be had
  COMPOSE_TEST_BUILD_NETWORK=host    build the images on this network of the engine
  COMPOSE_TEST_KEEP=1                leave everything running at the end
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2

from deploy.compose import Compose
from deploy.grafana.build import dashboard
from deploy.ports import free_port
from learndrop.client import Client
from learndrop.errors import LearndropError
from learndrop.images.datasets import Data, load

HEALTHY_S = 180.0
DROP_S = 420.0
QUERY_S = 60.0
SIZE = 16
SETTINGS = {
    "LEARNDROP_IMAGE_SIZE": str(SIZE),
    "LEARNDROP_CHECKPOINT_S": "5",
    "LEARNDROP_PUBLISH_S": "1",
}


class Failed(Exception):
    """A promise that was not kept."""


def knows(state: dict[str, Any]) -> bool:
    return float(state["prequential"]["accuracy"] or 0) > 0.8


def expect(kept: bool, told: str) -> None:
    if not kept:
        raise Failed(told)


class Trial:
    """The steps, in order; each prints one line."""

    def __init__(self, compose: Compose, ports: dict[str, int]) -> None:
        self.compose, self.ports = compose, ports
        self.data: Data = load("digits", SIZE)
        self.sent = 0
        self.began = time.monotonic()

    def say(self, told: str) -> None:
        print(f"[{time.monotonic() - self.began:6.1f} s] {told}", flush=True)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def come_up(self) -> None:
        self.compose.up()
        for service in self.compose.services:
            self.compose.wait_healthy(service, HEALTHY_S)
        self.say(f"healthy: {', '.join(self.compose.services)}")

    def check_containers(self) -> None:
        """As the engine runs them: no root, nothing writable, no capability."""
        for service in self.compose.services:
            told = self.compose.inspect(service)
            host = told["HostConfig"]
            expect(host["ReadonlyRootfs"], f"{service} has a writable root file system")
            expect(not host["Privileged"], f"{service} is privileged")
            expect(host["CapDrop"] == ["ALL"], f"{service} keeps capabilities")
            user = told["Config"]["User"].partition(":")[0]
            expect(user not in ("", "0", "root"), f"{service} runs as {user or 'root'}")
            for published in (host["PortBindings"] or {}).values():
                expect(published[0]["HostIp"] == "127.0.0.1", f"{service} is open to the network")
        for service in ("service", "worker"):
            write = "open('/app/written', 'w')"
            status = self.compose.execute(service, "python", "-c", write)
            expect(status != 0, f"{service} can write to its root file system")
        self.say("every container: no root, read-only, no capabilities, loopback only")

    def learn_until_drop(self, client: Client) -> None:
        """Post the digits over and over until layers have left training and it knows its digits."""
        began = time.monotonic()
        while not (state := client.state())["drop"]["depth"] or not knows(state):
            expect(time.monotonic() - began < DROP_S, f"no drop within {DROP_S:g} s")
            if state["samples"]["pending"] > 2000:
                time.sleep(0.2)
                continue
            self.send(client, 256)
        drop = state["drop"]
        names = [unit["name"] for unit in drop["units"] if unit["state"] == "dropped"]
        self.say(
            f"dropped {drop['depth']} of {drop['total']} units ({', '.join(names)}) after"
            f" {state['samples_learned']} samples; accuracy {state['prequential']['accuracy']:.3f}"
        )

    def send(self, client: Client, number: int) -> None:
        at = self.sent % (len(self.data) - number)
        client.learn(self.data.images[at : at + number], self.data.labels[at : at + number])
        self.sent += number

    def predict(self, client: Client) -> None:
        """The answers must be right, not only there."""
        answers = client.predict(self.data.images[:200])
        right = sum(a["label"] == b for a, b in zip(answers, self.data.labels[:200], strict=True))
        version = answers[0]["model_version"]
        kept = client.prediction(answers[0]["id"])
        expect(kept["label"] == answers[0]["label"], "the stored prediction is another one")
        expect(right >= 150, f"only {right} of 200 predictions are right")
        true = {a["id"]: str(b) for a, b in zip(answers[:20], self.data.labels, strict=False)}
        taken = sum(one["sample_id"] is not None for one in client.label_many(true))
        expect(taken == len(true), f"only {taken} of {len(true)} labels that came later were taken")
        self.sent += taken
        self.say(
            f"predicted 200 digits, {right} right, with model version {version};"
            f" labelled {taken} later"
        )

    def account(self, client: Client) -> None:
        """The account adds up, and nothing else was accepted than was sent."""
        samples = client.wait_learned(timeout_s=HEALTHY_S)["samples"]
        parts = sum(samples[n] for n in ("learned", "buried", "deleted", "pending"))
        expect(samples["accepted"] == parts == self.sent, f"sent {self.sent}, account {samples}")

    def ask_prometheus(self) -> None:
        """Every query of the dashboard must have an answer; no alert may fire."""
        panels = [(p["title"], t["expr"]) for p in dashboard()["panels"] for t in p["targets"]]
        # An annotation is empty where nothing happened: without the comparison it never is.
        marks = [
            (f"event {mark['name']}", mark["target"]["expr"].removesuffix(" > 0"))
            for mark in dashboard()["annotations"]["list"]
        ]
        for title, expr in [*panels, *marks]:
            self.until_answered(title, expr)
        up = self.query('up{job=~"learndrop-.*"} == 1')
        expect(len(up) == 2, f"Prometheus reaches {len(up)} of 2 processes")
        rules = self.prometheus("rules")["groups"]
        bad = [r["name"] for g in rules for r in g["rules"] if r["health"] == "err"]
        expect(not bad, f"rules that cannot be evaluated: {bad}")
        firing = [a["labels"]["alertname"] for a in self.prometheus("alerts")["alerts"]]
        expect(not firing, f"alerts: {firing}")
        gap = float(self.query("learndrop:accounting_gap")[0]["value"][1])
        expect(gap == 0, f"the accounting gap is {gap}")
        self.say(
            f"Prometheus: {len(panels)} panel and {len(marks)} event queries have data,"
            f" {sum(len(g['rules']) for g in rules)} rules work, no alert, accounting gap 0"
        )

    def until_answered(self, title: str, expr: str) -> None:
        deadline = time.monotonic() + QUERY_S
        while not any(r["value"][1] != "NaN" for r in self.query(expr)):
            expect(time.monotonic() < deadline, f"{title!r} has no data: {expr}")
            time.sleep(1)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Ask now, with the ranges that Grafana would put in."""
        plain = expr.replace("$__rate_interval", "20s").replace("$__interval", "15s")
        found: list[dict[str, Any]] = self.prometheus("query", query=plain)["result"]
        return found

    def prometheus(self, path: str, **parameters: str) -> dict[str, Any]:
        url = f"{self.url('prometheus')}/api/v1/{path}"
        answer = httpx2.get(url, params=parameters, timeout=30)
        expect(answer.status_code == 200, f"Prometheus: {answer.text}")
        told: dict[str, Any] = answer.json()["data"]
        return told

    def ask_grafana(self) -> None:
        """The dashboard is provisioned, and the source that it names answers."""
        url = f"{self.url('grafana')}/api"
        shown = httpx2.get(f"{url}/dashboards/uid/learndrop-overview", timeout=30).json()
        panels = shown["dashboard"]["panels"]
        expect(len(panels) == len(dashboard()["panels"]), f"Grafana shows {len(panels)} panels")
        query = {"refId": "A", "datasource": {"uid": "prometheus"}, "expr": "up", "instant": True}
        body = {"queries": [query], "from": "now-5m", "to": "now"}
        answer = httpx2.post(f"{url}/ds/query", json=body, timeout=30)
        expect(answer.status_code == 200, f"Grafana cannot ask Prometheus: {answer.text}")
        self.say(f"Grafana: {len(panels)} panels, its data source answers")

    def restart_each(self, client: Client) -> None:
        """Restarted with samples on their way; more is sent after; the account must add up."""
        for service in self.compose.services:
            self.send(client, 256)
            self.compose.restart(service)
            self.compose.wait_healthy(service, HEALTHY_S)
            self.send(client, 128)
            self.account(client)
            self.say(f"restarted {service}: {self.sent} sent, all accounted for")


def run(trial: Trial) -> None:
    trial.come_up()
    trial.check_containers()
    with Client(trial.url("service"), patience_s=HEALTHY_S) as client:
        trial.learn_until_drop(client)
        trial.account(client)
        trial.predict(client)
        trial.ask_prometheus()
        if "grafana" in trial.compose.services:
            trial.ask_grafana()
        trial.restart_each(client)
        trial.ask_prometheus()
        trial.predict(client)


def attempt(step: Callable[[], None]) -> bool:
    """Whether the step went well; says in a few lines why not."""
    try:
        step()
    except (Failed, LearndropError, httpx2.HTTPError) as exc:
        print(f"error: {exc}", file=sys.stderr, flush=True)
        return False
    return True


def say_logs(compose: Compose, service: str) -> None:
    """What the service's container has written."""
    print(compose.logs(service))


def main() -> int:
    skip = os.environ.get("COMPOSE_TEST_SKIP", "").replace(",", " ").split()
    ports = {name: free_port() for name in ("service", "prometheus", "grafana")}
    published = {
        "LEARNDROP_PORT": str(ports["service"]),
        "PROMETHEUS_PORT": str(ports["prometheus"]),
        "GRAFANA_PORT": str(ports["grafana"]),
    }
    project = f"learndrop-test-{os.getpid()}"
    try:
        compose = Compose(project, SETTINGS | published, skip)
    except LearndropError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    if skip:
        print(f"left out, as COMPOSE_TEST_SKIP asks: {', '.join(skip)}", flush=True)
    trial = Trial(compose, ports)
    network = os.environ.get("COMPOSE_TEST_BUILD_NETWORK", "")
    well = attempt(lambda: compose.build(network))
    trial.say("images built" if well else "images not built")
    try:
        well = well and attempt(lambda: run(trial))
        if not well:
            for service in ("service", "worker"):
                attempt(partial(say_logs, compose, service))
    finally:
        if not os.environ.get("COMPOSE_TEST_KEEP"):
            well = attempt(compose.down) and well
    trial.say("compose-test passed" if well else "compose-test FAILED")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
