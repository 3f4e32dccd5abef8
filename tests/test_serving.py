"""Versions are swapped by one reference; requests end on the version that they began with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learndrop.disk.registry import Registry, Version
from learndrop.disk.turns import Doing, T
from learndrop.errors import Busy, DamagedFile, NoModel
from learndrop.settings import load_settings
from service.answering import serving as serving_module
from service.answering.model import Model
from service.answering.passes import Pixels, Probabilities, Served
from service.answering.serving import Serving
from service.metrics import ServiceMetrics
from tests.processes import wait_until
from tests.published import probabilities, publish
from tests.services import pixels


class Gated(Model):
    """A version that answers only while its gate is open; remembers the passes it made."""

    def __init__(self, version: Version, doing: Doing) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.passes: list[int] = []
        super().__init__(version, doing)
        self.passes.clear()

    def predict(self, images: Pixels) -> Probabilities:
        assert self.gate.wait(20)
        self.passes.append(len(images))
        return super().predict(images)


@asynccontextmanager
async def serving_of(
    folder: Path,
    *,
    load: Callable[[Version, Doing], Served] = Model,
    most_waiting: int = 100,
    poll_s: float = 0.02,
) -> AsyncIterator[tuple[Serving, Callable[[str], float]]]:
    """Serving of the versions in a folder, and a reader of its metrics."""
    metrics = ServiceMetrics()
    registry = Registry(load_settings(data_dir=folder).models_dir)
    made = Serving(registry, load, metrics, most_waiting=most_waiting, poll_s=poll_s)
    await made.start()
    try:
        yield made, lambda name: metrics.registry.get_sample_value(f"learndrop_{name}") or 0.0
    finally:
        await made.stop()


async def gated(serving: Serving) -> Gated:
    model = serving.model()
    assert isinstance(model, Gated)
    return model


async def test_before_the_first_version_there_is_no_model_and_then_it_comes(
    tmp_path: Path,
) -> None:
    async with serving_of(tmp_path) as (serving, metric):
        assert serving.current is None and serving.number is None
        with pytest.raises(NoModel):
            serving.model()
        publish(tmp_path)
        await wait_until(lambda: serving.number == 1)
        assert (metric("model_version"), metric("model_swaps_total")) == (1, 1)
        assert metric("swap_seconds_count") == 1


async def test_a_new_version_answers_by_itself(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    publish(tmp_path, seed=0)
    async with serving_of(tmp_path) as (serving, _):
        images = pixels(4)

        def answers_by(number: int) -> bool:
            return serving.number == number

        for number, seed in ((1, 0), (2, 1), (3, 2)):
            await wait_until(partial(answers_by, number))
            answers = await serving.predict(serving.model(), images)
            assert answers == pytest.approx(probabilities(settings, seed, images), abs=1e-5)
            publish(tmp_path, seed=seed + 1)


async def test_a_version_is_checked_between_the_passes_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, threads = Registry.load, []

    def load(self: Registry, number: int | None, doing: Doing) -> Version:
        def told(work: Callable[[], T], /) -> T:
            def here() -> T:
                threads.append(threading.current_thread().name.split("_")[0])
                return work()

            return doing(here)

        return loaded(self, number, told)

    monkeypatch.setattr(Registry, "load", load)
    publish(tmp_path)
    async with serving_of(tmp_path) as (serving, _):
        assert serving.number == 1
    assert set(threads) == {"network"}  # where the passes are made, one after the other


async def test_a_roll_back_is_followed(tmp_path: Path) -> None:
    for seed in range(3):
        publish(tmp_path, seed=seed)
    registry = Registry(load_settings(data_dir=tmp_path).models_dir)
    async with serving_of(tmp_path) as (serving, _):
        assert serving.number == 3
        registry.roll_back(1)
        await wait_until(lambda: serving.number == 1)


async def test_requests_in_flight_end_on_the_version_that_they_began_with(
    tmp_path: Path,
) -> None:
    settings = load_settings(data_dir=tmp_path)
    publish(tmp_path, seed=0)
    async with serving_of(tmp_path, load=Gated) as (serving, _):
        images, old = pixels(4), await gated(serving)
        old.gate.clear()
        begun = [asyncio.create_task(serving.predict(old, images[:n])) for n in (1, 2)]
        publish(tmp_path, seed=1)
        await wait_until(lambda: serving.number == 2)
        late = asyncio.create_task(serving.predict(serving.model(), images))
        await asyncio.sleep(0)
        assert not any(task.done() for task in begun)
        old.gate.set()
        for count, task in zip((1, 2), begun, strict=True):
            expected = probabilities(settings, 0, images[:count])
            assert await task == pytest.approx(expected, abs=1e-5)
        assert await late == pytest.approx(probabilities(settings, 1, images), abs=1e-5)


async def test_no_request_fails_or_is_mixed_while_versions_come(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    publish(tmp_path, seed=0)
    images = pixels(6)
    expected = {n: probabilities(settings, n - 1, images) for n in range(1, 6)}
    seen: set[int] = set()
    async with serving_of(tmp_path) as (serving, _):

        async def client(start: int) -> None:
            while 5 not in seen:
                model = serving.model()
                answers = await serving.predict(model, images[start:])
                assert answers == pytest.approx(expected[model.number][start:], abs=1e-5)
                seen.add(model.number)

        clients = [asyncio.create_task(client(n)) for n in range(4)]
        for seed in range(1, 5):
            await wait_until(partial(seen.__contains__, seed))
            await asyncio.to_thread(publish, tmp_path, seed=seed)
        await asyncio.gather(*clients)
    assert seen == {1, 2, 3, 4, 5}


async def test_pictures_that_wait_go_through_the_network_together(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    publish(tmp_path)
    async with serving_of(tmp_path, load=Gated, most_waiting=1000) as (serving, metric):
        images, model = pixels(70), await gated(serving)
        model.gate.clear()
        first = asyncio.create_task(serving.predict(model, images[:1]))
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(serving.predict(model, images[n : n + 2])) for n in range(40)]
        await asyncio.sleep(0)
        assert metric("prediction_queue") == 81
        model.gate.set()
        await first
        answers = await asyncio.gather(*tasks)
        expected = probabilities(settings, 0, images)
        for n, answer in enumerate(answers):
            assert answer == pytest.approx(expected[n : n + 2], abs=1e-5)
        assert model.passes in ([1, 64, 16], [63, 18])
        assert metric("prediction_queue") == 0


async def test_a_full_queue_is_busy_with_limit_and_value(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving_of(tmp_path, load=Gated, most_waiting=10) as (serving, _):
        model = await gated(serving)
        model.gate.clear()
        waiting = [asyncio.create_task(serving.predict(model, pixels(5))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as refused:
            await serving.predict(model, pixels(1))
        assert (refused.value.limit, refused.value.value) == (10, 11)
        model.gate.set()
        await asyncio.gather(*waiting)
        assert len(await serving.predict(model, pixels(30))) == 30  # alone it may be larger


async def test_who_gave_up_is_left_out_of_the_pass(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving_of(tmp_path, load=Gated) as (serving, metric):
        model = await gated(serving)
        model.gate.clear()
        tasks = [asyncio.create_task(serving.predict(model, pixels(n))) for n in (1, 2, 4)]
        await wait_until(lambda: metric("prediction_queue") == 7)
        tasks[1].cancel()
        model.gate.set()
        await asyncio.gather(tasks[0], tasks[2])
        assert metric("prediction_queue") == 0
        assert sum(model.passes) in (5, 7)  # 7 if the pass had begun


async def test_a_damaged_version_is_told_and_the_last_good_one_answers_on(
    tmp_path: Path,
) -> None:
    publish(tmp_path, seed=0)
    async with serving_of(tmp_path) as (serving, _):
        folder = load_settings(data_dir=tmp_path).models_dir / "blobs"
        before = set(folder.iterdir())
        publish(tmp_path, seed=1)
        for blob in set(folder.iterdir()) - before:
            blob.write_bytes(b"rot" + blob.read_bytes()[3:])
        await wait_until(lambda: serving.trouble is not None or serving.number == 2)
        if serving.number == 1:  # as a rule: the damage was there before the version was seen
            assert "checksum" in (serving.trouble or "")
        assert len(await serving.predict(serving.model(), pixels(2))) == 2
        assert serving.alive


async def test_a_service_that_starts_on_a_damaged_version_takes_the_last_good_one(
    tmp_path: Path,
) -> None:
    publish(tmp_path, seed=0)
    folder = load_settings(data_dir=tmp_path).models_dir / "blobs"
    before = set(folder.iterdir())
    publish(tmp_path, seed=1)
    for blob in set(folder.iterdir()) - before:
        blob.write_bytes(b"short")
    async with serving_of(tmp_path) as (serving, _):
        assert serving.number == 1
        assert serving.trouble is not None


@pytest.mark.parametrize(
    "damage",
    [{"fc.bias": torch.tensor([float("nan")] * 3)}, {"fc.weight": torch.zeros(3, 5)},
     {"strange.weight": torch.zeros(3)}],
)  # fmt: skip
async def test_a_version_that_cannot_answer_is_refused_and_tried_again_later(
    tmp_path: Path, damage: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, seed=0)
    async with serving_of(tmp_path) as (serving, metric):
        publish(tmp_path, seed=1, damage=damage)
        await wait_until(lambda: serving.trouble is not None)
        assert serving.number == 1
        assert metric("model_swap_failures_total") == 1
        monkeypatch.setattr(serving, "_not_before", 0.0)  # the time to the next try is over
        publish(tmp_path, seed=2)
        await wait_until(lambda: serving.number == 3)
        assert serving.trouble is None
    assert serving_module.AGAIN_S > 1


def test_a_version_without_classes_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, classes=(), spare_rows=2)
    version = Registry(load_settings(data_dir=tmp_path).models_dir).load()
    with pytest.raises(DamagedFile, match="no class"):
        Model(version)


def test_rows_of_the_head_without_a_label_are_no_answer(tmp_path: Path) -> None:
    publish(tmp_path, spare_rows=4)
    settings = load_settings(data_dir=tmp_path)
    model = Model(Registry(settings.models_dir).load())
    answers = model.predict(pixels(3))
    assert answers.shape == (3, 3)
    assert answers.sum(1) == pytest.approx(np.ones(3), abs=1e-5)
    whole = probabilities(settings, 0, pixels(3), classes=7)[:, :3]
    assert answers == pytest.approx(whole / whole.sum(1, keepdims=True), abs=1e-5)


def test_batches_of_any_size_give_each_picture_its_own_answer(tmp_path: Path) -> None:
    publish(tmp_path)
    model = Model(Registry(load_settings(data_dir=tmp_path).models_dir).load())
    images = pixels(70)
    whole = model.predict(images)
    for count in (1, 2, 3, 7, 33, 64, 65):
        assert model.predict(images[:count]) == pytest.approx(whole[:count], abs=1e-5)


async def test_stopping_tells_whoever_waits_to_come_again(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving_of(tmp_path, load=Gated) as (serving, _):
        model = await gated(serving)
        model.gate.clear()
        tasks: list[Any] = [asyncio.create_task(serving.predict(model, pixels(64)))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(serving.predict(model, pixels(64)))]
        await asyncio.sleep(0)
        model.gate.set()
    ended: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, Busy) or len(one) == 64 for one in ended)
    assert not serving.alive
