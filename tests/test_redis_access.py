"""Redis with a user of its own and over TLS, by settings; and what such a user must be allowed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.errors import BadSettings, StreamAway
from learndrop.server.board import ServiceBoard, WorkerBoard
from learndrop.server.connections import connect, connect_async
from learndrop.settings import Settings, load_settings
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.stream.taking import Once
from learndrop.upkeep.forget_requests import ForgetRequests, Request
from tests.cutting import Cuts, cutting
from tests.servers import client_of, require_server, token

PASSWORD = "planted-password"
RULES = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A server on which nobody may do anything but the user `learndrop`, as the docs make it.

    And `narrow`, who lacks one right.
    """
    require_server()
    with EmbeddedRedis(tmp_path_factory.mktemp("acl")) as server:
        admin = client_of(server)
        rule = RULES.split("ACL SETUSER learndrop ")[1].split("\n")[0]
        admin.execute_command("ACL", "SETUSER", "learndrop", *rule.split(), f">{PASSWORD}")
        narrow = rule.replace("+bgrewriteaof", "").split()
        admin.execute_command("ACL", "SETUSER", "narrow", *narrow, f">{PASSWORD}")
        admin.execute_command("ACL", "SETUSER", "default", "off")
        admin.close()
        yield server


def settings_of(server: EmbeddedRedis, **given: object) -> Settings:
    # each use begins anew on what the one before has acknowledged
    return load_settings(redis_url=server.url, name="guarded", on_gap="go_on", **given)


def uses(settings: Settings) -> None:
    """What service and worker do: publish, claim, acknowledge, bury, tell, read."""
    sample = Sample(np.zeros((8, 8, 3), np.uint8), "a", 1.0, "camera", "one")

    async def service() -> None:
        publisher, board = RedisPublisher(settings), ServiceBoard(settings)
        await publisher.take([sample] * 2, Once("k", "c"))
        await publisher.take([Sample(sample.image, "b")])
        assert await publisher.check() == []
        assert await publisher.warnings() == []
        await publisher.counts()
        await board.state()
        await board.events(5)
        await publisher.close()
        await board.close()

    asyncio.run(service())
    lead = token(settings)
    consumer, board = RedisConsumer(settings, lead), WorkerBoard(settings, lead)
    entries = consumer.claim(10, 0.2)
    assert len(entries) == 2
    consumer.hold([e.id for e in entries])
    consumer.bury(entries[0], "unreadable", "a test")
    consumer.release()
    consumer.published(1, consumer.position)
    assert consumer.ack(consumer.position) == 1
    assert consumer.counts().missing == 0
    board.put_state({})
    consumer.close()
    board.close()


def test_the_user_of_the_docs_may_do_all_that_is_needed(guarded: EmbeddedRedis) -> None:
    uses(settings_of(guarded, redis_user="learndrop", redis_password=PASSWORD))


@pytest.mark.parametrize(("user", "told"), [("learndrop", 0), ("narrow", 1)])
def test_the_rewrite_of_the_log_is_asked_for_or_its_refusal_is_told_once(
    guarded: EmbeddedRedis, caplog: pytest.LogCaptureFixture, user: str, told: int
) -> None:
    settings = settings_of(guarded, redis_user=user, redis_password=PASSWORD)
    asks = ForgetRequests(settings, token(settings))
    for _ in range(2):
        asks.erased([Request("1-1", "1-1", 1.0, "")])
    asks.close()
    assert ["+bgrewriteaof" in r.getMessage() for r in caplog.records] == [True] * told


def test_and_nothing_else(guarded: EmbeddedRedis) -> None:
    given = {"redis_user": "learndrop", "redis_password": PASSWORD}
    client: Any = connect(settings_of(guarded, **given))
    for command in (["GET", "other"], ["FLUSHALL"], ["CONFIG", "SET", "appendfsync", "no"],
                    ["ACL", "LIST"], ["KEYS", "*"]):  # fmt: skip
        with pytest.raises(Exception, match="(?i)no permission|noperm"):
            client.execute_command(*command)
    client.close()


def test_the_password_may_be_in_a_file(guarded: EmbeddedRedis, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    client = connect(settings_of(guarded, redis_user="learndrop", redis_password_file=path))
    assert client.xlen("learndrop:guarded:stream") >= 0
    client.close()
    with pytest.raises(BadSettings, match="LEARNDROP_REDIS_PASSWORD_FILE"):
        connect(settings_of(guarded, redis_password_file=tmp_path / "none"))


@pytest.mark.parametrize("given", [{}, {"redis_user": "learndrop", "redis_password": "wrong-one"}])
def test_a_user_that_is_refused_is_told_so_and_no_password_with_it(
    guarded: EmbeddedRedis, given: dict[str, str]
) -> None:
    consumer = RedisConsumer(settings_of(guarded, **given), token=1)
    with pytest.raises(StreamAway, match="(?i)auth") as caught:
        consumer.counts()
    assert "wrong-one" not in str(caught.value)
    consumer.close()


# -- TLS: the server of the tests has none, so a proxy that ends it stands before a real one ------


@contextlib.contextmanager
def tls_before(port: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """A port on loopback that speaks TLS and hands everything on; and its certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with cutting(port, Cuts(1, 1, chance=0.0), context) as own:
        yield own, certificate


def test_tls_and_a_user_together(guarded: EmbeddedRedis, tmp_path: Path) -> None:
    with tls_before(guarded.port, tmp_path) as (port, certificate):
        given = {"redis_user": "learndrop", "redis_password": PASSWORD, "name": "guarded-tls"}
        url = f"rediss://127.0.0.1:{port}/0"
        uses(load_settings(redis_url=url, redis_ca=certificate, **given))
        stranger = RedisConsumer(load_settings(redis_url=url, **given), token=1)
        with pytest.raises(StreamAway, match="(?i)certificate"):
            stranger.counts()
        stranger.close()
        unsafe = load_settings(redis_url=url.replace("rediss", "redis"), **given)
        plain = RedisConsumer(unsafe, token=1)
        with pytest.raises(StreamAway):
            plain.counts()
        plain.close()


def test_the_server_of_the_tests_has_no_tls_of_its_own() -> None:
    """When this fails, the proxy above can go."""
    require_server()
    from deploy.embedded import find_server

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [str(find_server()), "--port", "0", "--tls-port", str(port), "--save", ""],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode != 0 and "TLS" in done.stdout


async def test_whoever_needs_one_connection_more_waits_for_it(tmp_path: Path) -> None:
    require_server()
    with EmbeddedRedis(tmp_path / "redis") as server:
        settings = load_settings(redis_url=server.url, data_dir=tmp_path, redis_connections=2)
        client = connect_async(settings)
        try:
            answers = await asyncio.gather(*(client.ping() for _ in range(50)))
            held = len(await client.client_list())
        finally:
            await client.aclose()
    assert all(answers) and held <= 2
