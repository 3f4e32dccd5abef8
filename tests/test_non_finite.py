"""Row 14 in small: NaN and infinity in settings, entries, weights and a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from learndrop.disk.registry import Registry
from learndrop.errors import BadSettings
from learndrop.learning import checkpoint
from learndrop.learning.keeper import Keeper
from learndrop.learning.returning import is_finite
from learndrop.settings import Settings, load_settings
from learndrop.stream.messages import Sample
from tests.learning import quick_learner, quick_settings
from tests.senders import CLASSES, samples
from tests.soak.non_finite import not_finite, settings_refused, spoil_checkpoints


def test_no_setting_takes_a_number_that_is_none() -> None:
    refused, taken = settings_refused()
    assert taken == [] and refused > 100
    with pytest.raises(BadSettings, match="LEARNDROP_PIXEL_MEAN"):
        load_settings(pixel_mean=(math.nan, 1.0, 1.0))


@pytest.mark.parametrize("at", [b"nan", b"inf", b"-inf", b"1e999"])
def test_an_entry_with_such_a_time_is_learned_like_any_other(at: bytes) -> None:
    one = samples(1)[0]
    sample = Sample.from_fields({**one.to_fields(), b"at": at})
    assert np.array_equal(sample.image, one.image)
    assert quick_learner(classes=tuple(CLASSES)).learn([sample]).count == 1


def test_a_checkpoint_of_nan_is_healed_by_the_last_version(tmp_path: Path) -> None:
    settings: Settings = quick_settings(classes=tuple(CLASSES), data_dir=tmp_path)
    learner = quick_learner(classes=tuple(CLASSES))
    for at in range(0, 320, 32):
        learner.learn(samples(320)[at : at + 32])
    registry = Registry(settings.models_dir)
    number = registry.publish(*learner.export())
    checkpoint.save(learner, settings.checkpoints_dir, "5-0", keep=1)
    spoil_checkpoints(settings)
    found = checkpoint.load_latest(settings.checkpoints_dir, settings)
    assert found is not None and found[1] == "5-0"  # nothing is learned twice for it
    rotten = found[0]
    assert not is_finite(rotten.trainer)
    event = Keeper(rotten, registry).before_checkpoint()
    assert event is not None and event.detail["version"] == number
    pictures = np.stack([s.image for s in samples(8, seed=3)])
    assert np.array_equal(rotten.predict(pictures), learner.predict(pictures))
    assert math.isfinite(rotten.learn(samples(32, seed=4)).loss)
    registry.publish(*rotten.export())
    assert not_finite(registry) == 0


def test_a_rate_that_explodes_publishes_nothing_that_is_no_number(tmp_path: Path) -> None:
    learner = quick_learner(classes=tuple(CLASSES), clip_norm=1e30)
    learner.settings = learner.settings.model_copy(update={"rate": 1e30})  # no setting allows it
    registry = Registry(tmp_path)
    keeper = Keeper(learner, registry)
    returns = 0
    for at in range(0, 960, 32):
        learner.learn(samples(960)[at : at + 32])
        returns += keeper.before_publish() is not None
        registry.publish(*learner.export())
    assert not_finite(registry) == 0 and is_finite(learner.trainer)
    assert returns + learner.life.skipped > 0, "it did not explode"
