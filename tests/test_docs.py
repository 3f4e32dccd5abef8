"""README and docs: nothing is missing from them, and what they show works."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from PIL import Image
from prometheus_client import CollectorRegistry

from deploy.local import LocalStack
from learndrop.bench.strategies import STRATEGIES
from learndrop.bench.streams import KINDS as STREAMS
from learndrop.cli import app
from learndrop.images.worlds import KINDS as WORLDS
from learndrop.settings import Settings, explained, load_settings
from learndrop.terminal import settings_table
from service.app import create_app
from service.metrics import ServiceMetrics
from tests.servers import require_server
from worker.metrics import WorkerMetrics

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def blocks() -> list[tuple[str, str]]:
    """Code blocks of the README that are to be run, in order: language and text."""
    return re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL)


def series(registry: CollectorRegistry) -> set[str]:
    """Names as Prometheus stores them, without the parts of histograms."""
    ends = {"counter": "_total", "info": "_info"}
    return {
        family.name + ends.get(family.type, "")
        for family in registry.collect()
        if family.name.startswith("learndrop_")
    }


def test_the_table_of_settings_is_the_one_that_the_command_makes() -> None:
    shown = README.split("<!-- settings -->\n")[1].split("<!-- /settings -->")[0].strip()
    fresh = settings_table(explained(Settings.model_construct()))
    assert shown == fresh, "run: learndrop settings --markdown"


def test_every_setting_has_a_meaning() -> None:
    rows = explained(Settings.model_construct())
    assert not [row["name"] for row in rows if not row["meaning"]]


def test_every_route_is_in_the_readme(tmp_path: Path) -> None:
    app = create_app(load_settings(data_dir=tmp_path))
    missing = [
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if f"`{method.upper()} {path}`" not in README
    ]
    assert not missing


def test_every_metric_is_explained_and_no_other() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    known = series(registry) | series(ServiceMetrics().registry)
    assert len(known) > 30
    told = set(re.findall(r"^\| `(learndrop_[a-z_]+)`", OPERATIONS, flags=re.MULTILINE))
    assert known - told == set()
    assert told - known == set()


def test_every_alert_is_named_and_no_other() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    alerts = {r["alert"] for group in rules["groups"] for r in group["rules"] if "alert" in r}
    assert set(re.findall(r"^\| \[(\w+)\]", OPERATIONS, flags=re.MULTILINE)) == alerts


def test_every_room_is_in_the_readme_with_what_it_says_of_itself() -> None:
    """A folder of modules is a room; what lies deeper belongs to it."""
    folders = [ROOT / "service", ROOT / "worker", ROOT / "deploy"]
    folders += [f for top in ("learndrop", "service") for f in (ROOT / top).iterdir()]
    rooms = {
        f"{folder.relative_to(ROOT)}/": (ast.get_docstring(ast.parse(init.read_text())) or "")
        for folder in folders
        if (init := folder / "__init__.py").exists()
    }
    told = dict(re.findall(r"^\| `([a-z/]+/)` \| (.+) \|$", README, flags=re.MULTILINE))
    assert told == {room: text.partition("\n")[0] for room, text in rooms.items()}


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md", "docs/bench.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith("https://"):
            assert ((ROOT / page).parent / target.partition("#")[0]).exists(), target


def test_the_picture_is_a_plot_of_a_real_run() -> None:
    with Image.open(ROOT / "docs" / "demo.png") as picture:
        assert picture.width > 1000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the pictures that the README speaks of, and the address of a service."""
    require_server()
    folder = tmp_path_factory.mktemp("readme")
    for name, shade in (("cat", 40), ("dog", 200)):
        (folder / "pets" / name).mkdir(parents=True)
        for i in range(40):
            colour = (shade + i % 20, shade, 255 - shade)
            Image.new("RGB", (40, 36), colour).save(folder / "pets" / name / f"{i}.jpg")
        # As large as photographs are: in base64, more than a shell hands on as one argument.
        picture = Image.effect_noise((640, 480), shade).convert("RGB")
        picture.save(folder / f"{name}.jpg", quality=95)
        assert (folder / f"{name}.jpg").stat().st_size > 128 * 1024
    stack = LocalStack.on_free_ports(
        folder / "data", logs=folder / "logs", publish_s=0.2, checkpoint_s=1.0, worker_threads=1
    )
    with stack:
        yield folder, stack.service.url


@pytest.mark.parametrize("index", range(len(blocks())))
def test_each_block_of_the_readme_works(index: int, place: tuple[Path, str]) -> None:
    folder, url = place
    language, text = blocks()[index]
    bare = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
    environment = {
        **bare,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LEARNDROP_PORT": url.rpartition(":")[2],
    }
    command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    done = subprocess.run(
        [*command[language], text.replace(ADDRESS, url)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_strategy_stream_world_and_option_of_the_bench_is_explained() -> None:
    told = (ROOT / "docs" / "bench.md").read_text()
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", told, flags=re.MULTILINE))
    assert rows == set(STRATEGIES) | set(STREAMS)
    worlds = {re.sub(r"[0-9.]+$", "", name) for name in re.findall(r"`([a-z]+[0-9.]*)`", told)}
    assert set(WORLDS) <= worlds
    options = set(re.findall(r"--[a-z-]+", " ".join(_options_of("bench"))))
    missing = {o for o in options if o not in told and not o.startswith("--no-")}
    assert missing <= {"--quick"}  # the default


def _options_of(command: str) -> list[str]:
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    return [text for parameter in found.params for text in parameter.opts]
