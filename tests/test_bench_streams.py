"""Streams of the bench: seeded, of the length they say, and changed only where they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learndrop.bench.faults import Fault
from learndrop.bench.streams import KINDS, Stream, drifting, stream
from learndrop.errors import BadInput
from learndrop.images import datasets
from learndrop.images.datasets import Data
from learndrop.images.worlds import invert
from tests.learning import digits, quick_learner


@pytest.fixture(scope="module")
def data() -> Data:
    return datasets.load("digits", 16)


def first_batch(played: Stream) -> list[int]:
    return [int(s.image.sum()) for s in next(played.batches(32))]


def test_a_stream_is_the_same_for_the_same_seed_and_changes_where_its_world_says() -> None:
    one, other = digits("clean", "swap", length=256), digits("clean", "swap", length=256)
    assert np.array_equal(one.images, other.images) and one.labels == other.labels
    clean = digits("clean", "clean", length=256)
    assert one.labels[:256] == clean.labels[:256]
    assert one.labels[256:] != clean.labels[256:]
    assert np.array_equal(one.images, clean.images)


def test_batches_never_span_two_worlds() -> None:
    sizes = [len(b) for b in digits("clean", "swap", length=100).batches(32)]
    assert sizes == [32, 32, 32, 4] * 2


def test_a_set_smaller_than_the_stream_does_not_drift_where_it_begins_anew(data: Data) -> None:
    played = drifting(data, ["clean"], 2 * len(data))
    first, second = (played.images[i * len(data) :][: len(data)] for i in (0, 1))
    assert abs(float(first.mean()) - float(second.mean())) < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_stream_has_the_length_that_it_says(kind: str, data: Data) -> None:
    played = stream(kind, data, 100)
    assert len(played) == 100 * len(played.worlds) == len(played.images)
    assert sum(len(b) for b in played.batches(32)) == len(played)
    again = stream(kind, data, 100)
    assert np.array_equal(played.images, again.images) and played.labels == again.labels
    assert first_batch(played) != first_batch(stream(kind, data, 100, seed=1))


def test_gradual_worlds_mix_around_their_border_and_nowhere_else(data: Data) -> None:
    length = 500
    played = stream("gradual", data, length, worlds=("clean", "inverted"))
    clean = drifting(data, ["clean", "clean"], length).images
    turned = np.array(
        [np.array_equal(a, b) for a, b in zip(played.images, invert(clean), strict=True)]
    )
    assert not turned[:400].any() and turned[600:].all()
    before, after = turned[400:500].mean(), turned[500:600].mean()
    assert 0.1 < before < 0.4 < 0.6 < after < 0.9
    assert played.labels == drifting(data, ["clean", "clean"], length).labels


def test_an_ordered_world_shows_one_class_after_the_other(data: Data) -> None:
    played = stream("ordered", data, 200, worlds=("clean", "inverted"))
    for begin, end in zip(played.begins, played.ends, strict=True):
        assert played.labels[begin:end] == sorted(played.labels[begin:end])
    mixed = drifting(data, ["clean", "inverted"], 200)
    assert sorted(played.labels) == sorted(mixed.labels)
    assert int(played.images.sum()) == int(mixed.images.sum())


def test_of_an_ordered_stream_pictures_are_kept_that_it_never_shows(data: Data) -> None:
    played = stream("ordered", data, 200, worlds=("clean", "inverted"))
    held = played.held_out
    assert (
        held is not None and len(held.images[0]) == 256 and set(held.labels[0]) == set("0123456789")
    )
    assert np.array_equal(held.images[1], 255 - held.images[0])
    shown = {i.tobytes() for i in drifting(data, ["clean", "clean"], 200).images}
    alike = {i.tobytes() for i in data.images}  # of the 1,797 a few may be the same to the bit
    assert not shown & {i.tobytes() for i in held.images[0]} and shown <= alike
    assert played.last_label > 0.95
    assert stream("ordered", data, 900, worlds=("clean", "inverted")).held_out is None
    mixed = stream("abrupt", data, 200, worlds=("clean", "inverted"))
    assert mixed.held_out is None and mixed.last_label < 0.2


def test_an_incremental_stream_brings_two_new_classes_each_time(data: Data) -> None:
    played = stream("incremental", data, 60)
    seen = [set(played.labels[b:e]) for b, e in zip(played.begins, played.ends, strict=True)]
    assert [len(s) for s in seen] == [2] * 5
    assert set.union(*seen) == set(data.classes)
    assert played.worlds[0] == "0 and 1"


def test_noise_in_a_block_leaves_the_pictures_alone(data: Data) -> None:
    played = stream("block", data, 100, worlds=("clean", "block2"))
    assert np.array_equal(played.images, drifting(data, ["clean", "clean"], 100).images)
    assert {at: f.unit for at, f in played.faults.items()} == {100: 2}


@pytest.mark.parametrize("dropped", [0, 3])
def test_a_fault_changes_one_unit_and_the_maps_after_it(dropped: int) -> None:
    learner = quick_learner()
    images = torch.rand(4, 3, 16, 16)
    learner.trainer.move_cut(dropped)
    learner.rehearsal.open_store()
    key = learner.features.key
    before = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    _, _, outputs = learner.trainer.test(images, watch=True)
    assert Fault(2).strike(learner) == 2
    struck = {n for n, t in learner.chain.state_dict().items() if not torch.equal(t, before[n])}
    assert struck and all(
        n in dict(learner.chain.units[2].module.named_parameters()) for n in struck
    )
    _, _, now = learner.trainer.test(images, watch=True)
    same = [torch.equal(a, b) for a, b in zip(outputs, now, strict=True)]
    assert same == [True, True] + [False] * (len(same) - 2)
    # maps stored below a cut that lies behind the unit are none of this network any more
    assert (learner.features.key != key) == (dropped > 2)


@pytest.mark.parametrize(
    ("kind", "worlds", "told"),
    [
        ("abrubt", (), "near: abrupt"),
        ("abrupt", ("fog",), "no world 'fog'"),
        ("incremental", ("clean",), "no worlds but its classes"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(
    kind: str, worlds: tuple[str, ...], told: str, data: Data
) -> None:
    with pytest.raises(BadInput, match=told):
        stream(kind, data, 100, worlds=worlds)
