"""A Redis whose disk takes no snapshot refuses every write (MISCONF): told, lost nothing, over."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.settings import Settings
from learndrop.stream.account import Counts
from service import durability
from service.app import create_app
from tests.processes import Processes, processes
from tests.published import publish
from tests.servers import client_of, require_server, settings_on
from tests.services import JSON, NPZ, is_problem, listening_app, npz
from tests.tiny_worker import EAGER, SIZE, numbered, saved

__all__ = ["processes"]

PATIENCE_S = 60.0


class Stubborn:
    """A server that snapshots as Redis does by default, and whose disk can be made to refuse that.

    A folder lies where the snapshot goes: that stops a superuser's server too.
    """

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedRedis(folder)
        self._in_the_way = folder / "dump.rdb"

    def start(self) -> None:
        self.server.start()
        with client_of(self.server) as redis:
            redis.config_set("save", "3600 1")

    def refuse(self) -> None:
        self._in_the_way.unlink(missing_ok=True)
        (self._in_the_way / "there").mkdir(parents=True)
        assert self._snapshot() == "err"

    def mend(self) -> None:
        shutil.rmtree(self._in_the_way)
        assert self._snapshot() == "ok"

    def _snapshot(self) -> str:
        with client_of(self.server) as redis:
            redis.bgsave()
            until = time.monotonic() + PATIENCE_S
            while (told := redis.info("persistence"))["rdb_bgsave_in_progress"]:
                assert time.monotonic() < until
                time.sleep(0.01)
            return str(told["rdb_last_bgsave_status"])


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Stubborn]:
    require_server()
    made = Stubborn(tmp_path / "redis")
    made.start()
    yield made
    made.server.kill()


class Scene:
    """The service over HTTP, a worker, and samples that tell which they are."""

    def __init__(
        self, http: httpx2.Client, settings: Settings, worker: subprocess.Popen[bytes]
    ) -> None:
        self.http, self.settings, self.worker = http, settings, worker
        self.sent = 0

    def send(self, count: int, *, key: str = "") -> httpx2.Response:
        """The next ones; they count as sent once they are taken."""
        some = [numbered(n) for n in range(self.sent, self.sent + count)]
        body = npz(images=np.stack([s.image for s in some]), labels=["fine"] * count)
        headers = NPZ | ({"idempotency-key": key} if key else {})
        answer = self.http.post("/v1/samples", content=body, headers=headers)
        self.sent += count * (answer.status_code == 202)
        return answer

    def counts(self) -> Counts:
        told = self.http.get("/v1/state").json()["samples"]
        return Counts(told["accepted"], told["learned"], told["buried"], told["pending"])

    def until(self, expected: Counts) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (now := self.counts()) != expected:
            assert self.worker.poll() is None
            assert time.monotonic() < deadline, now
            time.sleep(0.02)


@pytest.fixture
def scene(stubborn: Stubborn, processes: Processes, tmp_path: Path) -> Iterator[Scene]:
    settings = settings_on(
        stubborn.server,
        data_dir=tmp_path / "data",
        **EAGER,
    )
    publish(settings.data_dir, image_size=SIZE)
    worker = processes.start("tests.tiny_worker", settings)
    app = create_app(settings)
    with listening_app(app) as url, httpx2.Client(base_url=url, timeout=30) as http:
        yield Scene(http, settings, worker)


def test_what_waits_is_kept_what_comes_is_refused_and_all_of_it_is_learned_once_afterwards(
    scene: Scene, stubborn: Stubborn, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = scene.http
    assert scene.send(40).status_code == 202
    scene.until(Counts(40, 40, 0, 0))
    scene.worker.send_signal(signal.SIGSTOP)
    assert scene.send(10).status_code == 202
    stubborn.refuse()
    scene.worker.send_signal(signal.SIGCONT)

    refused = is_problem(scene.send(8, key="k"), 503, "stream-away")
    assert "MISCONF" in refused["detail"]
    monkeypatch.setattr(durability, "AGAIN_S", 0.0)  # as seconds later, when the server is asked
    again = scene.send(8, key="k")
    assert "MISCONF" in is_problem(again, 503, "stream-away")["detail"]
    assert again.headers["retry-after"] == "2"
    ready = is_problem(http.get("/readyz"), 503, "not-ready")
    assert "MISCONF" in ready["reasons"][0]
    assert http.get("/healthz").status_code == 200
    scene.until(Counts(50, 40, 0, 10))  # told from what can be read

    deadline = time.monotonic() + PATIENCE_S
    while "redis_away" not in processes.said(scene.worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert scene.worker.poll() is None  # it waits, as for a Redis that is away
    assert scene.counts() == Counts(50, 40, 0, 10)

    stubborn.mend()
    deadline = time.monotonic() + PATIENCE_S
    while http.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
    taken = [http.send(again.request) for _ in range(2)]
    scene.sent += 8
    assert [a.status_code for a in taken] == [202, 202]
    assert taken[0].json()["ids"] == taken[1].json()["ids"]
    scene.until(Counts(58, 58, 0, 0))
    scene.worker.terminate()
    assert scene.worker.wait(20) == 0
    assert saved(scene.settings.data_dir)[0] == list(range(58))


def test_every_change_is_refused_alike_and_answers_are_given_all_the_same(
    scene: Scene, stubborn: Stubborn
) -> None:
    http = scene.http
    (sample_id, *_) = scene.send(3).json()["ids"]
    picture = npz(images=np.zeros((1, SIZE, SIZE, 3), np.uint8))
    kept = http.post("/v1/predictions", content=picture, headers=NPZ).json()["predictions"][0]["id"]
    scene.until(Counts(3, 3, 0, 0))
    stubborn.refuse()
    answer = http.post("/v1/predictions", content=picture, headers=NPZ)
    assert answer.status_code == 200 and answer.json()["stored"] is False
    assert answer.json()["predictions"][0]["id"] is None
    label = f'{{"prediction": "{kept}", "label": "cat"}}'
    changes: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/labels", {"content": label, "headers": JSON}),
        ("DELETE", f"/v1/predictions/{kept}", {}),
        ("DELETE", f"/v1/samples/{sample_id}", {}),
        ("POST", "/v1/dead-letters/replay", {}),
        ("DELETE", "/v1/dead-letters", {"headers": {"idempotency-key": "k"}}),
    ]
    for method, path, more in changes:
        refused = is_problem(http.request(method, path, **more), 503, "stream-away")
        assert "MISCONF" in refused["detail"]
    for path in (f"/v1/samples/{sample_id}", f"/v1/predictions/{kept}", "/v1/state", "/metrics"):
        assert http.get(path).status_code == 200
    unstored = "learndrop_predictions_unstored_total 1.0"
    assert unstored in http.get("/metrics").text.splitlines()
    stubborn.mend()
    for method, path, more in changes:
        assert http.request(method, path, **more).is_success, path
    assert scene.counts().missing == 0
