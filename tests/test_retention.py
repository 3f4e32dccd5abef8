"""What is over its age is taken away in the background, and what waits to be learned never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploy.embedded import EmbeddedRedis
from learndrop.answers.kept import Answers
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep.dead_letters import DeadLetters
from service.app import create_app
from service.metrics import ServiceMetrics
from service.retention import Retention
from tests.processes import wait_until
from tests.servers import client_of, leading, server, settings_on
from tests.services import listening_app, pixels

__all__ = ["server"]


async def filled(settings: Settings) -> None:
    """Two answers, two dead letters and two samples that wait."""
    answers, publisher, worker = (
        Answers(settings),
        RedisPublisher(settings),
        leading(settings),
    )
    await answers.put([{"label": "cat", "model_version": 1}] * 2, pixels(2))
    images = np.zeros((4, 32, 32, 3), np.uint8)
    await publisher.publish([Sample(image, "cat") for image in images])
    for entry in worker.claim(2, 0):
        worker.bury(entry, "unreadable", "for the test")
    for part in (answers, publisher):
        await part.close()
    worker.close()


async def test_predictions_and_dead_letters_go_and_the_stream_stays(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    settings = settings_on(
        server, data_dir=tmp_path, predictions_ttl_s=1e-6, dead_letters_ttl_s=1e-6
    )
    await filled(settings)
    keys = Keys(settings.name)
    metrics = ServiceMetrics()
    with client_of(server) as redis, listening_app(create_app(settings, metrics=metrics)):
        await wait_until(lambda: redis.xlen(keys.predictions) == 0 and redis.xlen(keys.dead) == 0)
        assert redis.xlen(keys.stream) == 2
        assert redis.hlen(keys.dead_reasons) == 0

        def expired(what: str) -> bool:
            name = "learndrop_expired_total"
            return metrics.registry.get_sample_value(name, {"what": what}) == 2

        await wait_until(lambda: expired("prediction") and expired("dead_letter"))


async def test_what_is_younger_stays(server: EmbeddedRedis, tmp_path: Path) -> None:
    settings = settings_on(server, data_dir=tmp_path)
    await filled(settings)
    answers, letters, metrics = Answers(settings), DeadLetters(settings), ServiceMetrics()
    await Retention(settings, answers, letters, metrics).look()
    assert len((await answers.page(None, 10))[0]) == 2
    assert (await letters.numbers())["unreadable"] == 2
    await answers.close()
    await letters.close()


async def test_redis_away_stops_nothing(tmp_path: Path) -> None:
    settings = load_settings(redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path)
    answers, letters = Answers(settings), DeadLetters(settings)
    retention = Retention(settings, answers, letters, ServiceMetrics())
    await retention.start()
    await retention.stop()
    await answers.close()
    await letters.close()
