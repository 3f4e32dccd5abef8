"""The environment that make creates: a torch that is there is kept, the second time is quick."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.environment import MADE_FROM, ROOT, Environment, fingerprint, new_enough, pins, torch_of


@pytest.fixture
def made(tmp_path: Path) -> Environment:
    """An environment that says that `worker` and `test` were installed in it."""
    environment = Environment(tmp_path / "venv")
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    stamp = {"made_from": fingerprint(), "extras": ["test", "worker"]}
    environment.stamp.write_text(json.dumps(stamp))
    return environment


def test_what_is_installed_is_not_installed_again(made: Environment) -> None:
    began = time.monotonic()
    made.ensure({"worker"})
    assert time.monotonic() - began < 1
    assert not (made.folder / "constraints.txt").exists()  # pip was not asked


@pytest.mark.parametrize("changed", MADE_FROM)
def test_a_change_of_what_it_is_made_from_is_noticed(tmp_path: Path, changed: str) -> None:
    for name in MADE_FROM:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    environment = Environment(tmp_path / "venv", tmp_path)
    environment.folder.mkdir()
    stamp = {"made_from": fingerprint(tmp_path), "extras": ["test"]}
    environment.stamp.write_text(json.dumps(stamp))
    assert environment.installed() == {"test"}
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert environment.installed() == set()


def test_a_damaged_stamp_means_that_nothing_is_installed(made: Environment) -> None:
    made.stamp.write_text("{")
    assert made.installed() == set()


def test_what_was_installed_is_compiled_as_far_as_it_can_be(made: Environment) -> None:
    packages = made.folder / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "one.py").write_text("number = 1")
    (packages / "other.py").write_text("print 'of Python 2'")
    made._compile()
    (compiled,) = (packages / "__pycache__").iterdir()
    assert compiled.name.startswith("one.") and compiled.suffix == ".pyc"


def test_the_torch_of_an_active_environment_is_kept(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment._create()  # the tests run beside torch
    assert torch_of(environment.python) is not None
    constraints = pins((ROOT / "constraints.txt").read_text(), {"torch": "2.12.0"})
    assert "torch==2.12.0\n" in constraints and "torchvision==0.29.1\n" in constraints


def test_a_python_without_torch_has_none(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    assert torch_of(tmp_path / "bin" / "python") is None


@pytest.mark.parametrize(
    ("versions", "kept"),
    [
        ({"torch": "2.11.0", "torchvision": "0.26.0"}, True),
        ({"torch": "2.14.1+cpu", "torchvision": "0.29.1+cpu"}, True),
        ({"torch": "2.10.1", "torchvision": "0.26.0"}, False),
        ({"torch": "3.0.0a0+git1234", "torchvision": "1.0"}, True),
    ],
)
def test_only_a_torch_that_the_project_supports_is_kept(
    versions: dict[str, str], kept: bool
) -> None:
    assert new_enough(versions) is kept


def test_it_runs_with_nothing_but_the_standard_library() -> None:
    told = subprocess.run(
        [sys.executable, "-S", "-I", str(ROOT / "deploy/environment.py")],
        capture_output=True,
        text=True,
    )
    assert told.stderr == "usage: environment.py VENV [extra ...]\n"
