"""`learndrop predict`: an answer for each picture, and the name of each file that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import learndrop
from tests.published import publish
from tests.services import encoded, listening_app, memory_app, pixels


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    publish(tmp_path)
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        yield url


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two pictures and, between them, one that was cut short."""
    whole = encoded(pixels(1)[0])
    kept = {"cat.png": whole, "bröken one.png": whole[: len(whole) // 2], "猫.png": whole}
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    return [str(tmp_path / name) for name in kept]


def test_a_file_that_is_no_picture_is_named_and_the_others_are_answered(
    url: str, files: list[str]
) -> None:
    done = learndrop("predict", *files, "--url", url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"skipped {files[1]}: the PNG picture")
    assert done.stderr.count("\n") == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [files[0], files[2]]


def test_as_json_it_leaves_out_the_same_files(url: str, files: list[str]) -> None:
    done = learndrop("predict", *files, "--url", url, "--json")
    assert done.returncode == 1
    assert [row["file"] for row in json.loads(done.stdout)] == [files[0], files[2]]


def test_all_pictures_answered_is_success(url: str, files: list[str]) -> None:
    done = learndrop("predict", files[0], files[2], "--url", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
