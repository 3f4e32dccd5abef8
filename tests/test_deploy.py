"""What is shipped beside the code: compose files, images, rules, dashboard, pins."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from deploy.grafana import build, learning
from learndrop.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy/prometheus/rules.yml"

# Set by the compose file itself: addresses and folders inside the containers, and who may reach
# them. (A client's key is for clients: no container needs it.)
FIXED = {
    "allow_open",
    "api_key",
    "data_dir",
    "redis_url",
    "host",
    "port",
    "metrics_host",
    "metrics_port",
}

Json = dict[str, Any]


def read(path: str) -> Json:
    loaded: Json = yaml.safe_load((ROOT / path).read_text())
    return loaded


COMPOSE = read("docker-compose.yml")
SERVICES: Json = COMPOSE["services"]
DASHBOARD = build.dashboard()


@pytest.mark.parametrize("path", ["docker-compose.yml", "deploy/compose.gpu.yml"])
def test_compose_files_follow_the_specification(path: str) -> None:
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", str(ROOT / path)),
        ],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_five_services_are_there() -> None:
    assert set(SERVICES) == {"redis", "service", "worker", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_runs_without_root_and_read_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "cap_add" not in service
    assert not re.match(r"(\$\{\w+:-)?(0|root)\b", service["user"])


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_published_beyond_the_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert SERVICES[name].get("network_mode") is None


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_a_health_check_and_starts_after_healthy_ones(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    for needed in SERVICES[name].get("depends_on", {}).values():
        assert needed["condition"] == "service_healthy"


def test_redis_cannot_lose_or_evict_what_was_accepted() -> None:
    command = SERVICES["redis"]["command"]
    for option in (
        "--appendonly yes",
        "--appendfsync ${LEARNDROP_FSYNC:-always}",
        "--maxmemory-policy noeviction",
    ):
        assert option in command
    assert "--maxmemory ${LEARNDROP_REDIS_MEMORY_BYTES:-" in command
    assert "ports" not in SERVICES["redis"]
    assert COMPOSE["networks"]["stream"]["internal"] is True


@pytest.mark.parametrize("name", ["service", "worker"])
def test_every_setting_reaches_the_container(name: str) -> None:
    given = SERVICES[name]["environment"]
    expected = {f"LEARNDROP_{field.upper()}" for field in Settings.model_fields.keys() - FIXED}
    assert {key for key, value in given.items() if value is None} == expected


def test_the_gpu_is_reserved_for_the_worker_only() -> None:
    gpu = read("deploy/compose.gpu.yml")["services"]
    assert set(gpu) == {"worker"}
    (device,) = gpu["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_the_images_need_no_buildkit_and_end_without_root() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert not re.search(r"--mount|^# syntax|<<EOF", dockerfile, re.M)
    assert 'ARG TORCH_INDEX=""' in dockerfile
    assert re.findall(r"^USER (.+)$", dockerfile, re.M) == ["10001:10001"]
    targets = {SERVICES[name]["build"]["target"] for name in ("service", "worker")}
    assert targets <= set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.M))


def test_constraints_pin_every_dependency_and_nothing_of_one_platform() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in pins)
    names = {line.partition("==")[0] for line in pins}
    assert not [n for n in names if n.startswith(("nvidia", "cuda", "triton"))]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    direct = {re.split(r"[\[<>=]", w)[0].lower().replace("_", "-") for w in wanted}
    assert direct <= names


def test_make_names_no_package_index() -> None:
    for path in ("Makefile", "deploy/environment.py", ".ci/run", "pyproject.toml"):
        assert "index-url" not in (ROOT / path).read_text()


def test_ci_runs_the_test_command_and_nothing_else() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    commands = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]


# -- Prometheus ---------------------------------------------------------------------------------


def alerts() -> list[Json]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def promtool(*arguments: str, stdin: str = "") -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not on PATH")
    run = subprocess.run(
        ["promtool", *arguments], cwd=RULES.parent, input=stdin, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_prometheus_takes_its_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


def test_the_names_of_all_metrics_are_as_prometheus_asks() -> None:
    from service.metrics import ServiceMetrics
    from worker.metrics import WorkerMetrics

    for metrics in (WorkerMetrics(CollectorRegistry()), ServiceMetrics(CollectorRegistry())):
        promtool("check", "metrics", stdin=generate_latest(metrics.registry).decode())


def test_each_alert_fires_and_stays_quiet_when_it_should() -> None:
    promtool("test", "rules", "rules_test.yml")
    tests = yaml.safe_load((RULES.parent / "rules_test.yml").read_text())["tests"]
    cases = [c for t in tests for c in t["alert_rule_test"]]
    fires = {c["alertname"] for c in cases if c.get("exp_alerts")}
    quiet = {c["alertname"] for c in cases if not c.get("exp_alerts")}
    assert fires == quiet == {alert["alert"] for alert in alerts()}


def test_each_alert_has_its_section_in_the_runbook() -> None:
    sections = re.split(r"^## ", (ROOT / "deploy/runbook.md").read_text(), flags=re.M)[1:]
    by_name = {section.partition("\n")[0]: section for section in sections}
    for alert in alerts():
        name = alert["alert"]
        assert alert["annotations"]["runbook"] == f"deploy/runbook.md#{name.lower()}"
        for part in ("**Meaning.**", "**First look", "**Over when**"):
            assert part in by_name[name]
    assert set(by_name) == {alert["alert"] for alert in alerts()}


def test_prometheus_scrapes_what_the_compose_file_runs() -> None:
    jobs = read("deploy/prometheus/prometheus.yml")["scrape_configs"]
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in jobs
        if "static_configs" in job
    }
    (found,) = (job["dns_sd_configs"][0] for job in jobs if job["job_name"] == "learndrop-worker")
    targets["learndrop-worker"] = [f"{name}:{found['port']}" for name in found["names"]]
    ports = {name: SERVICES[name]["environment"] for name in ("service", "worker")}
    assert targets["learndrop-service"] == [f"service:{ports['service']['LEARNDROP_PORT']}"]
    assert targets["learndrop-worker"] == [f"worker:{ports['worker']['LEARNDROP_METRICS_PORT']}"]


# -- Grafana ------------------------------------------------------------------------------------


def queries() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return panels + [mark["target"]["expr"] for mark in DASHBOARD["annotations"]["list"]]


def test_the_dashboard_is_what_its_generator_writes() -> None:
    assert build.WRITTEN.read_text() == build.text()


def test_the_dashboard_needs_no_input_and_names_the_provisioned_source() -> None:
    text = build.text()
    assert "__inputs" not in text and "${DS_" not in text
    (source,) = read("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert set(re.findall(r'"datasource": (\{[^}]*\})', json.dumps(DASHBOARD))) == {
        json.dumps({"type": "prometheus", "uid": source["uid"]})
    }
    scrape = read("deploy/prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape


def test_the_dashboard_is_provisioned_where_it_is_mounted() -> None:
    (provider,) = read("deploy/grafana/provisioning/dashboards/learndrop.yml")["providers"]
    folder = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/{build.WRITTEN.name}"


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda p: p["title"])
def test_every_panel_has_unit_description_and_references(panel: Json) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"]) > 30
    assert [t["refId"] for t in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (p["gridPos"] for p in panels):
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken
                taken.add((x, y))


def exported() -> set[str]:
    """Every series name that the two processes can export, and those that rules record."""
    from service.metrics import ServiceMetrics
    from worker.metrics import WorkerMetrics

    names = {"up", "process_start_time_seconds"}
    for metrics in (WorkerMetrics(CollectorRegistry()), ServiceMetrics(CollectorRegistry())):
        for family in metrics.registry.collect():
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            names |= {family.name + s for s in suffixes.get(family.type, [""])}
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return names | {r["record"] for g in groups for r in g["rules"] if "record" in r}


def test_every_metric_in_dashboard_and_rules_is_exported() -> None:
    rules = [r["expr"] for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"]]
    unquoted = re.sub(r'"[^"]*"', "", " ".join([*queries(), *rules]))  # job names look like metrics
    used = set(re.findall(r"\b(?:learndrop[a-z0-9_:]*|process_\w+)", unquoted))
    assert used - exported() == set()
    assert len(used) > 20


def test_every_query_of_the_dashboard_is_one_that_prometheus_reads(tmp_path: Path) -> None:
    plain = [q.replace("$__rate_interval", "20s").replace("$__interval", "15s") for q in queries()]
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(plain)]
    assert not [q for q in plain if "$__" in q]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "q", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "queries.yml"))


def test_the_state_timeline_knows_every_state_of_a_unit() -> None:
    from worker.metrics import STATES

    assert {text: code for code, (text, _) in learning.STATES.items()} == STATES


def test_event_counters_begin_at_zero_so_that_the_first_event_is_seen() -> None:
    from worker.metrics import WorkerMetrics

    registry = WorkerMetrics(CollectorRegistry()).registry
    for mark in DASHBOARD["annotations"]["list"]:
        assert registry.get_sample_value("learndrop_events_total", {"type": mark["name"]}) == 0
