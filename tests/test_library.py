"""`learndrop.Learner` in a script: any data set, any network, kept and brought back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import learndrop
from learndrop.errors import BadInput, BadNetwork, BadSettings, DamagedFile, NotLearnedYet
from learndrop.images import datasets
from learndrop.images.items import items
from learndrop.networks import catalogue
from tests.learning import QUICK

DATA = datasets.load("digits", 16, seed=0)
TARGETS = torch.tensor([int(label) for label in DATA.labels])
TENSORS = TensorDataset(torch.from_numpy(DATA.images).permute(0, 3, 1, 2), TARGETS)
SOME = Subset(TENSORS, range(480))  # where it does not matter how much was learned


def make(*args: Any, **overrides: Any) -> learndrop.Learner:
    return learndrop.Learner(*args, **{**QUICK, **overrides})


def test_the_package_alone_is_free_of_torch_and_has_the_learner_when_asked() -> None:
    code = (
        "import sys, learndrop; before = 'torch' in sys.modules; learndrop.Learner;"
        "print(before, 'torch' in sys.modules); learndrop.Lerner"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]
    assert "has no attribute 'Lerner'" in done.stderr


def test_a_data_set_is_learned_and_answers_come_as_the_labels_that_were_given() -> None:
    learner = make()
    done = learner.learn_from(TENSORS, order="shuffled")
    again = learner.learn_from(TENSORS, order="shuffled")
    assert done.samples == len(TENSORS) and done.accuracy < again.accuracy
    answers = learner.predict(TENSORS[i][0] for i in range(300))
    assert all(type(a) is int for a in answers)
    right = sum(a == t for a, t in zip(answers, TARGETS[:300].tolist(), strict=True)) / 300
    assert right > 0.8
    assert learner.evaluate([TENSORS[i] for i in range(300)]) == pytest.approx(right)
    assert learner.accuracy is not None and learner.accuracy > 0.7
    assert learner.probabilities([]).shape == (0, 10)


def test_the_state_of_a_script_tells_events_newest_first_as_that_of_the_service() -> None:
    learner = make()
    done = learner.learn_from(TENSORS)
    told = learner.state()["events"]
    assert [e["type"] for e in told] == [e.type for e in reversed(done.events)]
    assert {"grow", "drop"} <= {e["type"] for e in told} and told[0]["samples"] == max(
        e["samples"] for e in told
    )


def grey(i: int) -> Image.Image:
    return Image.fromarray(DATA.images[i]).convert("L")


@pytest.mark.parametrize(
    "kind",
    [
        lambda i: Image.fromarray(DATA.images[i]),
        lambda i: DATA.images[i],
        lambda i: torch.from_numpy(DATA.images[i]).permute(2, 0, 1),
        lambda i: torch.from_numpy(DATA.images[i]).permute(2, 0, 1).float() / 255,
        grey,
        lambda i: np.asarray(grey(i)),
        lambda i: torch.from_numpy(np.array(grey(i))),
        lambda i: torch.from_numpy(np.array(grey(i)))[None].double() / 255,
    ],
)
def test_every_kind_of_picture_gives_the_same_input(kind: Any) -> None:
    for number, (image, label) in enumerate(
        items([(kind(i), DATA.labels[i]) for i in range(20)], size=16, fit="crop")
    ):
        assert np.array_equal(image, DATA.images[number]) and label == DATA.labels[number]


def test_a_loader_gives_its_batches_item_by_item() -> None:
    one = list(items(DataLoader(TENSORS, batch_size=7), size=16, fit="crop"))
    other = list(items(TENSORS, size=16, fit="crop"))
    assert [label for _, label in one] == [label for _, label in other]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(one, other, strict=True))


def test_shuffled_is_another_order_each_time_and_the_same_for_the_same_seed() -> None:
    def order(seed: int) -> list[Any]:
        return [t for _, t in items(TENSORS, size=16, fit="crop", order="shuffled", seed=seed)]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted(TARGETS.tolist())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([(DATA.images[0], "a"), (DATA.images[0], 1)], "all names or all numbers"),
        ([(DATA.images[0], "a"), DATA.images[0]], "item 1 is no pair"),
        ([(DATA.images[0], 1.5)], "item 0: a label is a name or a whole number, not 1.5"),
        ([(DATA.images[0], "")], "item 0: a label is"),
        ([(torch.randn(3, 16, 16), 1)], "item 0: float pixels are from 0 to 1"),
        ([(torch.zeros(16, 16, 4), 1)], r"item 0: a tensor of \[16, 16, 4\]"),
        ([(torch.zeros(3, 16, 16, dtype=torch.int32), 1)], "item 0: pixels of torch.int32"),
        ([("cat.jpg", 1)], "item 0: a picture is a PIL image, an array or a tensor, not str"),
        ([(np.zeros((16, 16, 3)), 1)], "item 0: pixels of float64"),
    ],
)
def test_what_cannot_be_learned_is_named(data: list[Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        make().learn_from(data, batch=1)


def test_what_came_before_a_bad_item_is_learned() -> None:
    learner = make()
    with pytest.raises(BadInput, match="item 3"):
        learner.learn_from([(DATA.images[0], 1)] * 3 + [("x", 1)], batch=1)
    assert learner.engine.progress.samples == 3


def test_a_stream_without_length_cannot_be_shuffled() -> None:
    stream: Iterator[Any] = iter([(DATA.images[0], 1)])
    with pytest.raises(BadInput, match="known length"):
        make().learn_from(stream, order="shuffled")


@pytest.mark.parametrize("one", [Image.new("RGB", (9, 9)), DATA.images[0], TENSORS[0][0], 5])
def test_one_picture_that_is_in_no_list_is_refused(one: Any) -> None:
    with pytest.raises(BadInput, match="alone: give a list"):
        make().predict(one)


def test_three_grey_pictures_in_one_array_are_three() -> None:
    learner = make()
    learner.learn_from(SOME, batch=8)
    assert len(learner.predict(np.zeros((3, 16, 16), np.uint8))) == 3


def test_what_is_no_data_and_no_order_is_named() -> None:
    data: Any = 5
    with pytest.raises(BadInput, match="a int alone"):
        make().learn_from(data)
    order: Any = "random"
    with pytest.raises(BadInput, match="order 'random' is none of"):
        make().learn_from(TENSORS, order=order)


def test_what_is_no_model_no_batch_and_no_folder_is_named(tmp_path: Path) -> None:
    model: Any = lambda x: x  # noqa: E731
    with pytest.raises(BadNetwork, match="torch.nn.Module, this is a function"):
        make(model=model)
    with pytest.raises(BadInput, match="a batch of 0 samples: 1 or more"):
        make().learn_from(TENSORS, batch=0)
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(BadInput, match="taken is a file, not a folder"):
        make().save(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_settings_are_keywords_and_a_wrong_one_is_named() -> None:
    assert make(rate=0.125).engine.settings.rate == 0.125
    with pytest.raises(BadSettings, match="raat is no setting; near: rate"):
        make(raat=1)


def test_no_answer_before_the_first_label() -> None:
    with pytest.raises(NotLearnedYet):
        make().predict([DATA.images[0]])


# -- kept and brought back -----------------------------------------------------------------


def test_a_learner_brought_back_goes_on_as_the_one_that_was_saved(tmp_path: Path) -> None:
    learner = make(replays="1", classes=list(range(10)))
    learner.learn_from(SOME)
    learner.save(tmp_path / "kept")
    other = learndrop.Learner.load(tmp_path / "kept")
    assert other.classes == learner.classes == list(range(10))
    assert other.engine.settings.rate == learner.engine.settings.rate
    for one in (learner, other):
        one.learn_from(SOME, order="shuffled")
    ours, theirs = learner.state_dict(), other.state_dict()
    assert all(torch.equal(t, theirs[n]) for n, t in ours.items())
    assert learner.state() | {"seconds": 0} == other.state() | {"seconds": 0}


def test_a_folder_without_a_learner_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match="holds no saved learner"):
        learndrop.Learner.load(tmp_path)


def test_the_weights_go_back_into_the_plain_network() -> None:
    learner = make()
    learner.learn_from(SOME)
    learner.engine.drop_to(4, "by hand")
    plain = catalogue.build("small-resnet10", 10)
    plain.load_state_dict(learner.state_dict())
    x = learner.engine.floats(DATA.images[:8])
    learner.engine.chain.eval()
    plain.to(x.device)
    with torch.no_grad():
        assert torch.equal(plain(x), learner.engine.chain(x))


# -- networks of one's own -----------------------------------------------------------------


class Own(nn.Module):
    """Convolutions that are traced, or not where the forward pass looks at numbers."""

    def __init__(self, *, branches: str = "") -> None:
        super().__init__()
        self.branches = branches
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), Inner(branches == "inside")
        )
        self.out = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).mean((2, 3))
        if self.branches == "outside" and bool(x.sum() > 1e9):
            x = x * 2
        result: Tensor = self.out(x)
        return result


class Inner(nn.Module):
    def __init__(self, branches: bool) -> None:
        super().__init__()
        self.branches = branches
        self.conv = nn.Conv2d(16, 32, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.branches and bool(x.sum() > 1e9):
            doubled: Tensor = self.conv(x) * 2
            return doubled
        result: Tensor = self.conv(x).relu()
        return result


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


BY_HAND: list[Any] = [["body.0", "body.1", "body.2"], "body.3", [mean, "out"]]


def test_a_model_of_ones_own_is_trained_in_place_under_its_own_names(tmp_path: Path) -> None:
    model = Own()
    learner = make(model, classes=list(range(10)))
    assert len(learner.engine.chain) == 3
    learner.learn_from(SOME)
    learner.engine.drop_to(1, "by hand")
    learner.learn_from([TENSORS[i] for i in range(64)])
    assert model.state_dict().keys() == learner.state_dict().keys()
    assert all(torch.equal(t.cpu(), learner.state_dict()[n]) for n, t in model.state_dict().items())
    learner.save(tmp_path)
    back = learndrop.Learner.load(tmp_path, Own())
    assert back.engine.trainer.cut == learner.engine.trainer.cut == 1
    assert np.array_equal(
        back.probabilities(DATA.images[:9]), learner.probabilities(DATA.images[:9])
    )
    with pytest.raises(BadNetwork, match="a model of its own, Own"):
        learndrop.Learner.load(tmp_path)


def test_a_module_that_cannot_be_followed_inside_is_kept_whole() -> None:
    learner = make(Own(branches="inside"))
    assert [u.name for u in learner.engine.chain.units] == ["body.0-1", "body.3", "head"]
    done = learner.learn_from(SOME)
    assert learner.state()["flops"]["done"] > 0 and done.samples == len(SOME)


def test_a_forward_that_cannot_be_traced_says_where_and_what_the_way_out_is() -> None:
    where = r"after \w+, in line \d+ of test_library.py \(if self.branches == \"outside\" and .*\)"
    with pytest.raises(BadNetwork, match=rf"Own cannot be traced {where}: .*units=.* by hand"):
        make(Own(branches="outside"))


def test_units_by_hand_learn_drop_and_come_back(tmp_path: Path) -> None:
    model = Own(branches="outside")
    learner = make(model, units=BY_HAND)
    assert [u.name for u in learner.engine.chain.units] == ["body.0-body.1-body.2", "body.3", "out"]
    learner.learn_from(SOME)
    learner.engine.drop_to(1, "by hand")
    learner.learn_from(SOME)
    assert learner.state_dict().keys() == model.state_dict().keys()
    x = learner.engine.floats(DATA.images[:8])
    with torch.no_grad():
        learner.engine.chain.eval()
        assert torch.equal(model.eval()(x), learner.engine.chain(x))
    learner.save(tmp_path)
    back = learndrop.Learner.load(tmp_path, Own(branches="outside"), units=BY_HAND)
    assert np.array_equal(
        back.probabilities(DATA.images[:9]), learner.probabilities(DATA.images[:9])
    )


@pytest.mark.parametrize(
    ("units", "told"),
    [
        (["body", [mean, "aus"]], "no module is called 'aus'; there are body, out"),
        (["body", [mean, nn.Linear(32, 10)]], "Linear is no module of this network"),
        (["body", mean, "out"], r"units\[1\] has nothing to learn"),
        ([["body.0", "body.3"], [mean, "out"]], r"leave out body\.1\.weight \(2 parameters"),
        (["body", ["body.3", mean, "out"]], r"units\[1\] shares parameters"),
        (["body", "out"], r"units\[1\] cannot take"),
        (["body", [lambda x: x.amax((2, 3)), "out"]], "other results than the network"),
        ([["body.0", "body.1", "body.2"], "body.3", "out", mean], r"units\[3\] has nothing"),
    ],
)
def test_units_by_hand_that_are_not_the_network_are_refused(units: Any, told: str) -> None:
    with pytest.raises(BadNetwork, match=told):
        make(Own(branches="outside"), units=units)


def test_a_sequential_is_its_own_list_of_units() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Sequential(nn.Flatten(), nn.Linear(512, 10)))
    learner = make(model, units=list(model))
    assert [u.name for u in learner.engine.chain.units] == ["0", "1"]


def test_a_pretrained_model_answers_before_it_has_learned() -> None:
    learner = make(Own(), classes=["a", "b"], pretrained=True)
    assert set(learner.predict([DATA.images[0]])) <= {"a", "b"}


# -- timm ----------------------------------------------------------------------------------


@pytest.mark.skipif(util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_100"])
@pytest.mark.filterwarnings("default")
def test_a_network_of_timm_is_learned_by_name(name: str) -> None:
    learner = make(network=f"timm:{name}", image_size=32)
    assert len(learner.engine.chain) > 8
    learner.learn_from([TENSORS[i] for i in range(64)])
    assert learner.state()["network"]["name"] == f"timm:{name}"
    with pytest.raises(BadNetwork, match=r"timm has no network 'resnet1'; near: resnet1"):
        make(network="timm:resnet1")


@pytest.mark.skipif(util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_its_networks_are_refused_with_the_remedy() -> None:
    with pytest.raises(BadNetwork, match="pip install timm"):
        make(network="timm:resnet18")


def conv_net(*, norm: bool) -> nn.Module:
    middle = [nn.BatchNorm2d(8)] if norm else []
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), *middle, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 10),
    )  # fmt: skip


def test_the_rate_goes_by_the_first_weights_and_comes_back_with_the_learner(tmp_path: Path) -> None:
    own = {k: v for k, v in QUICK.items() if k != "rate"} | {"classes": list(range(10))}

    def rate(model: nn.Module, **given: Any) -> float:
        return learndrop.Learner(model, **{**own, **given}).engine.rate

    assert rate(conv_net(norm=True)) == 0.05
    assert rate(conv_net(norm=True), pretrained=True) == 0.005
    assert rate(conv_net(norm=True), rate=0.125) == 0.125
    assert rate(conv_net(norm=False)) == 0.005  # nothing tells whether it was trained
    known = conv_net(norm=True)
    known(torch.randn(8, 3, 16, 16))  # a step of somebody's training
    assert rate(known) == 0.005

    learner = learndrop.Learner(known, **own)
    learner.learn_from(SOME)
    learner.save(tmp_path)
    back = learndrop.Learner.load(tmp_path, conv_net(norm=True))  # which looks untouched
    assert back.engine.settings.rate == 0.005
    assert (
        learndrop.Learner.load(tmp_path, conv_net(norm=True), rate=0.25).engine.settings.rate
        == 0.25
    )
    back.save(tmp_path)
    assert learndrop.Learner.load(tmp_path, conv_net(norm=True)).engine.settings.rate == 0.005
