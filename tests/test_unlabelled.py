"""A change of the pictures is told without labels, and none where nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from deploy.embedded import EmbeddedRedis
from learndrop.bench.streams import drifting
from learndrop.disk.registry import Registry
from learndrop.drift.unlabelled import LEAST, MOST, Newest, Shift, Sureness, unsure_of
from learndrop.images import datasets
from learndrop.images.datasets import Data
from learndrop.images.worlds import world
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from service.app import create_app
from tests.learning import quick_learner, quick_settings
from tests.servers import server, settings_on
from tests.services import NPZ, npz, parts_of

__all__ = ["server"]

LEARNED = Sureness(mean=0.1, spread=0.15, count=256)


def answers(rng: np.random.Generator, mean: float, count: int) -> Any:
    """Most answers are sure and a few are not at all, as a network gives them."""
    return rng.beta(0.3, 0.3 * (1 / mean - 1), count)


def has_shifted(shift: Shift) -> bool:
    return shift.shifted


def told_after(shift: Shift, unsure: Any, learned: Sureness | None = LEARNED) -> int | None:
    for count, one in enumerate(unsure, 1):
        shift.take([one], learned)
        if shift.shifted:
            return count
    return None


def test_answers_as_sure_as_what_was_learned_are_no_shift() -> None:
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        before = Newest()
        before.take(answers(rng, 0.1, 1000))
        alarms += told_after(Shift(), answers(rng, 0.1, 1500), before.told()) is not None
    assert alarms <= 2


def test_a_shift_is_told_within_128_answers_and_its_end_too() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        shift = Shift()
        assert told_after(shift, answers(rng, 0.1, 600)) is None
        count = told_after(shift, answers(rng, 0.4, 128))
        assert count is not None and count > 8  # not by a single odd picture
        shift.take(answers(rng, 0.1, MOST), LEARNED)
        assert not has_shifted(shift)


def test_nothing_is_said_of_few_answers() -> None:
    shift = Shift()
    shift.take([1.0] * (LEAST - 1), LEARNED)
    assert not has_shifted(shift) and np.isnan(shift.unsure) and np.isnan(shift.errors)
    shift.take([1.0], LEARNED)
    assert has_shifted(shift) and shift.unsure == 1.0


def test_a_slight_rise_is_no_shift_however_certain() -> None:
    shift = Shift()
    assert told_after(shift, [0.14] * 1000, Sureness(0.1, 0.0, 256)) is None
    assert shift.errors > 4.0


def test_a_shift_does_not_come_and_go_at_the_border() -> None:
    shift = Shift()
    shift.take([0.17] * MOST, Sureness(0.1, 0.0, 256))
    assert has_shifted(shift)
    for unsure in (0.14, 0.16) * MOST:
        shift.take([unsure], Sureness(0.1, 0.0, 256))
        assert has_shifted(shift)
    shift.take([0.11] * MOST, Sureness(0.1, 0.0, 256))
    assert not has_shifted(shift)


def test_versions_that_come_every_few_answers_do_not_hide_it() -> None:
    shift, rng = Shift(), np.random.default_rng(0)
    for number in range(64):
        learned = Sureness(0.1 + number / 1e4, 0.15, 256)
        shift.take(answers(rng, 0.1, 5), learned)
        assert not has_shifted(shift)
    for number in range(32):
        shift.take(answers(rng, 0.5, 5), Sureness(0.1 - number / 1e4, 0.15, 256))
    assert has_shifted(shift) and shift.count <= LEAST + 5


def test_each_answer_is_held_against_the_version_that_gave_it() -> None:
    young, grown = Sureness(0.6, 0.2, 256), Sureness(0.1, 0.2, 256)
    shift = Shift()
    shift.take([0.6] * MOST, young)
    shift.take([0.1] * 64, grown)
    assert not has_shifted(shift) and abs(shift.higher) < 0.01


def test_versions_that_do_not_tell_are_not_judged() -> None:
    shift = Shift()
    shift.take([0.9] * MOST, LEARNED)
    assert has_shifted(shift)
    shift.take([0.9], None)
    assert not has_shifted(shift) and shift.learned is None and shift.count == 1
    shift.take([0.9] * MOST, None)
    assert not has_shifted(shift) and shift.unsure == pytest.approx(0.9)
    shift.take([0.1], LEARNED)
    assert shift.count == 1


def test_numbers_that_are_none_are_passed_over_and_the_window_is_bounded() -> None:
    shift = Shift()
    shift.take([float("nan"), float("inf")] * 500 + [0.1] * 10_000, LEARNED)
    assert not has_shifted(shift) and shift.count == MOST and shift.unsure == pytest.approx(0.1)


@pytest.mark.parametrize(
    "data",
    [None, [], "high", {}, {"mean": 0.1}, {"mean": None, "spread": 0.1, "count": 99},
     {"mean": float("nan"), "spread": 0.1, "count": 99}, {"mean": 0.1, "spread": 0.1, "count": 9}],
)  # fmt: skip
def test_what_is_no_figure_of_a_version_is_unknown(data: object) -> None:
    assert Sureness.from_json(data) is None
    assert Sureness.from_json(LEARNED.to_json() | {"younger": 1}) == LEARNED


# -- a learner's versions, and a service that answers with them ------------------------------


@pytest.fixture(scope="module")
def taught() -> tuple[Learner, Data]:
    """A learner of 70 % of the digits, once each, and those that it has never seen."""
    shown, others = datasets.load("digits", 16).split(0.3)
    learner = quick_learner()
    for batch in drifting(shown, ("clean",), 1248).batches(32):
        learner.learn(batch)
    return learner, others


def test_a_version_tells_how_unsure_the_answers_before_learning_were(
    taught: tuple[Learner, Data],
) -> None:
    learner, others = taught
    learned = Sureness.from_json(learner.export()[1]["unsure"])
    assert learned is not None and learned.count == MOST
    now = float(unsure_of(learner.predict(others.images)).mean())
    assert now < learned.mean < now + 0.25  # the answers came while it learned


def test_before_there_are_enough_answers_a_version_does_not_tell() -> None:
    learner = quick_learner()
    batches = drifting(datasets.load("digits", 16), ("clean",), 96).batches(32)
    learner.learn(next(batches))
    assert "unsure" not in learner.export()[1]
    learner.learn(next(batches))
    assert learner.export()[1]["unsure"]["count"] == LEAST


def test_a_resumed_learner_tells_the_same(taught: tuple[Learner, Data], tmp_path: Path) -> None:
    learner, _ = taught
    checkpoint.save(learner, tmp_path, "0-0", keep=1)
    found = checkpoint.load_latest(tmp_path, quick_settings())
    assert found is not None
    assert found[0].export()[1] == learner.export()[1]


@pytest.fixture
def http(
    taught: tuple[Learner, Data], server: EmbeddedRedis, tmp_path: Path
) -> Iterator[TestClient]:
    parts, about = taught[0].export()
    settings = settings_on(server, data_dir=tmp_path, network="small-resnet10", image_size=16)
    Registry(settings.models_dir).publish(parts, about)
    with TestClient(create_app(settings)) as opened:
        yield opened


@pytest.mark.parametrize("name", ["noise90", "inverted"])
def test_the_service_tells_other_pictures_once_and_their_end(
    name: str, http: TestClient, taught: tuple[Learner, Data]
) -> None:
    usual, others = taught[1].images, world(name).images(taught[1].images)

    def asked(images: Any) -> dict[str, Any]:
        for begin in range(0, len(images), 16):
            body = npz(images=images[begin : begin + 16])
            assert http.post("/v1/predictions", content=body, headers=NPZ).status_code == 200
        told: dict[str, Any] = http.get("/v1/state").json()["predictions"]
        return told

    def metric(name: str) -> float | None:
        registry = parts_of(http).metrics.registry
        return registry.get_sample_value(f"learndrop_predictions_{name}")

    assert http.get("/v1/state").json()["predictions"]["shifted"] is False
    with capture_logs() as logs:
        told = asked(usual)
        assert told["shifted"] is False and told["compared"] == MOST
        assert (metric("shifted"), metric("uncertainty")) == (0.0, told["uncertainty"])
        assert metric("uncertainty_learned") == told["uncertainty_learned"]
        assert asked(others)["shifted"] is True
        assert metric("shifted") == 1.0
        told = asked(usual)
        assert told["shifted"] is False and told["standard_errors"] < 2.0
    lines = [(one["event"], one["log_level"]) for one in logs if "shift" in one["event"]]
    assert lines == [("predictions_shifted", "warning"), ("predictions_shift_over", "info")]
