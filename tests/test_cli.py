"""The command: quick help without torch, one line for an error, JSON where output is data."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.embedded import free_port
from learndrop import cli, errors
from tests.commands import learndrop

HEAVY = ("torch", "numpy", "learndrop.settings", "learndrop.client", "sklearn", "PIL")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['learndrop', '--help']\n"
        "from learndrop import cli\n"
        "try: cli.main()\n"
        f"except SystemExit: print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    commands = ("demo", "status", "feed", "predict", "sample", "dead-letters", "bench", "settings")
    for command in commands:
        assert command in done.stdout
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize(
    "command", ["demo", "status", "feed", "predict", "sample", "bench", "settings"]
)
def test_every_command_has_help(command: str) -> None:
    done = CliRunner().invoke(cli.app, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_version() -> None:
    assert learndrop("--version").stdout.startswith("learndrop 0.")


def test_settings_tell_value_and_origin() -> None:
    done = learndrop(
        "settings", "--json", LEARNDROP_RATE="0.25", LEARNDROP_REDIS_URL="redis://:pw@h"
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["rate"]["value"] == 0.25
    assert rows["rate"]["origin"] == "environment"
    assert rows["momentum"]["origin"] == "default"
    assert all(row["meaning"] for row in rows.values())
    assert "pw" not in done.stdout
    plain = learndrop("settings").stdout.splitlines()
    assert plain[0].split("\t") == ["variable", "value", "from", "meaning"]
    assert len(plain) == len(rows) + 1


def test_a_mistyped_variable_is_told() -> None:
    done = learndrop("settings", LEARNDROP_RAET="1")
    assert done.stderr == "LEARNDROP_RAET is no setting; near: LEARNDROP_RATE; ignored\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "told"),
    [
        (["settings"], {"LEARNDROP_RATE": "fast"}, 2, "LEARNDROP_RATE"),
        (["settings"], {"LEARNDROP_PIXEL_MEAN": "1,2,3"}, 2, "write a JSON list, as [125.0, 123.0"),
        (["settings"], {"LEARNDROP_CLASSES": "cat"}, 2, 'as ["one", "two"] (value \'cat\')'),
        (["bench", "--set", "raet=1"], {}, 2, "raet is no setting; near: rate"),
        (["bench", "--set", "LEARNDROP_RATE=-1"], {}, 2, "LEARNDROP_RATE: Input should be"),
        (["status", "--url", "127.0.0.1:80"], {}, 2, "write http://127.0.0.1:80"),
        (["bench", "--world", "fog"], {}, 2, "no world 'fog'"),
        (["bench", "--set", "rate"], {}, 2, "write --set name=value"),
        (["bench", "--set", "rate=-1"], {}, 2, "LEARNDROP_RATE"),
        (["fed"], {}, 2, "Did you mean 'feed'? (see `"),
        (["feed"], {}, 2, "Missing argument 'source'"),
        (
            ["bench", "--length", "3"],
            {},
            2,
            "'--length': Input should be greater than or equal to 64",
        ),
        (["predict", "/nowhere/cat.jpg", "--url", "http://127.0.0.1:9"], {}, 3, "No such file"),
    ],
)
def test_an_error_is_one_line(
    arguments: list[str], environment: dict[str, str], code: int, told: str
) -> None:
    done = learndrop(*arguments, **environment)
    assert done.returncode == code
    assert told in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not done.stdout


@pytest.mark.parametrize("group", ["keys", "labels", "dead-letters"])
def test_a_group_of_commands_lists_them(group: str) -> None:
    done = learndrop(group)
    assert done.returncode == 2 and not done.stderr
    assert f"{group} [OPTIONS] COMMAND" in done.stdout


@pytest.mark.parametrize("command", [["status"], ["feed", "digits"], ["status", "--json"]])
def test_nobody_at_the_address_is_exit_12_in_one_line(command: list[str]) -> None:
    port = free_port()
    done = learndrop(*command, LEARNDROP_PORT=str(port))
    assert done.returncode == 12
    assert f"127.0.0.1:{port}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_debug_adds_the_traceback() -> None:
    done = learndrop("bench", "--world", "fog", "--debug")
    assert "Traceback" in done.stderr
    assert "BadInput" in done.stderr


def test_a_mistyped_command_is_told_its_neighbour() -> None:
    done = learndrop("stauts")
    assert done.returncode == 2
    assert "status" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("process", "end"),
    [("service", {"LEARNDROP_HOST": "0.0.0.0"}), ("worker", {"LEARNDROP_METRICS_PORT": "taken"})],
)
def test_a_process_warns_of_a_variable_that_is_no_setting(
    process: str, end: dict[str, str], tmp_path: Path
) -> None:
    known = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        end = {k: v.replace("taken", port) for k, v in end.items()}
        given = {**known, **end, "LEARNDROP_DATA_DIR": str(tmp_path), "LEARNDROP_RAET": "hush"}
        done = subprocess.run(
            [sys.executable, "-m", process], env=given, capture_output=True, text=True, check=False
        )
    assert done.returncode in {1, 2}  # `end` sees to that: only the start is of interest
    assert "LEARNDROP_RAET is no setting; near: LEARNDROP_RATE" in done.stderr
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


def test_exit_codes_are_those_of_the_head_of_the_file() -> None:
    def refused(status: int) -> errors.ServerRefused:
        return errors.ServerRefused("no", status=status, problem={})

    expected = [
        (errors.BadInput("x"), 2),
        (errors.BadSettings("x"), 2),
        (errors.NotFound("x"), 3),
        (errors.StreamFull("x"), 5),
        (errors.LearndropError("x"), 1),
        (refused(404), 3),
        (refused(429), 5),
        (refused(503), 5),
        (refused(422), 1),
    ]
    assert [cli.exit_code(exc) for exc, _ in expected] == [code for _, code in expected]


def test_demo_outside_the_repository_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'deploy' else find(name, *a)\n"
        "sys.argv = ['learndrop', 'demo']\n"
        "from learndrop import cli; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "make demo" in done.stderr
    assert done.stderr.count("\n") == 1


def test_demo_hands_its_options_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", images=np.zeros((3, 8, 8), np.uint8), labels=np.zeros(3, int))
    done = learndrop("demo", "--data", str(tmp_path / "one.npz"), "--out", str(tmp_path / "o"))
    assert done.returncode == 2
    assert "1 class, at least 2" in done.stderr
