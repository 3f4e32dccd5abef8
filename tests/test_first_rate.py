"""The rate that nobody has set: it goes by the first weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from learndrop.disk import checkpoint_files
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.networks import catalogue
from learndrop.settings import Settings
from tests.learning import QUICK, digits, learn

TEN = tuple(map(str, range(10)))
OPEN: dict[str, Any] = {**QUICK, "rate": 0.0, "classes": TEN}


def settings(**overrides: Any) -> Settings:
    return Settings(**{**OPEN, **overrides})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("first") / "first.safetensors"
    save_file(catalogue.build("small-resnet10", 10).state_dict(), path)
    return str(path)


def test_it_goes_by_the_first_weights_unless_it_is_set(weights: str) -> None:
    assert Learner(settings()).settings.rate == 0.05
    assert Learner(settings(weights=weights)).settings.rate == 0.005
    assert Learner(settings(network="squeezenet1_1", image_size=32)).settings.rate == 0.01
    assert Learner(settings(rate=0.02)).rate == 0.02
    assert Learner(settings()).state()["rate"] == 0.05


def test_a_learner_brought_back_has_the_rate_of_its_first_weights(
    tmp_path: Path, weights: str
) -> None:
    for name, given, rate in (("known", {"weights": weights}, 0.005), ("random", {}, 0.05)):
        whole = Learner(settings(**given))
        learn(whole, digits("clean", length=128))
        checkpoint.save(whole, tmp_path / name, "1-1", keep=1)
        found = checkpoint.load_latest(tmp_path / name, settings(**given))
        assert found is not None
        back = found[0]
        assert back.settings.rate == back.trainer.settings.rate == whole.settings.rate == rate
        assert back.rate == whole.rate
        for batch in digits("clean", length=96, seed=1).batches(32):
            assert back.learn(batch).loss == whole.learn(batch).loss
        found = checkpoint.load_latest(tmp_path / name, settings(**given, rate=0.02))
        assert found is not None and found[0].settings.rate == 0.02


def test_a_checkpoint_from_before_goes_on_at_the_rate_that_was_everybodys(tmp_path: Path) -> None:
    folder = checkpoint.save(Learner(settings()), tmp_path, "1-1", keep=1)
    path = folder / "state.json"
    _, state, _ = checkpoint_files.newest_whole(tmp_path) or pytest.fail("no checkpoint")
    del state["learner"]["first_rate"]
    path.write_bytes(checkpoint_files.sealed(state))
    found = checkpoint.load_latest(tmp_path, settings())
    assert found is not None and found[0].rate == 0.005
