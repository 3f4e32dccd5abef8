"""Whom to believe: pure figures, no network."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from learndrop.belief.sender import RECENT, Ruling
from learndrop.belief.trust import ALONE, Trust
from learndrop.learning.labels import Labels


def feed(
    trust: Trust, batches: int, counts: dict[str, int], right: dict[str, float]
) -> list[Ruling]:
    """Batches of so many samples a key, that share of them answered right; all rulings."""
    seen: Counter[str] = Counter()
    rulings = []
    for _ in range(batches):
        keys = [key for key, n in counts.items() for _ in range(n)]
        verdicts = []
        for key in keys:
            seen[key] += 1
            verdicts.append(int(seen[key] * right[key]) > int((seen[key] - 1) * right[key]))
        rulings += trust.update(trust.codes(keys), verdicts, np.ones(len(keys), bool))
    return rulings


def doubts(trust: Trust) -> dict[str, str | None]:
    return {str(row["key"]): row["doubt"] for row in trust.rows()}


def calm(**counts: int) -> Trust:
    """Both keys were answered right nine times in ten for a while."""
    trust = Trust(0.5, 0.1)
    assert feed(trust, 30, counts, dict.fromkeys(counts, 0.9)) == []
    return trust


def test_a_key_whose_labels_alone_stop_agreeing_is_quarantined_by_name() -> None:
    trust = calm(honest=16, other=16)
    rulings = feed(trust, 10, {"honest": 3, "other": 29}, {"honest": 0.9, "other": 0.0})
    assert [(r.key, r.believed) for r in rulings] == [("other", False)]
    assert (
        "'other' fell from 0." in rulings[0].cause and "the other keys stay at" in rulings[0].cause
    )
    assert doubts(trust) == {"honest": None, "other": "quarantined"}


def test_it_is_doubted_from_its_first_wrong_batch_on_before_any_is_learned() -> None:
    trust = calm(honest=16, other=16)
    codes = trust.codes(["honest"] * 3 + ["other"] * 29)
    trust.update(codes, [True] * 3 + [False] * 29, np.ones(32, bool))
    assert doubts(trust)["other"] == "suspected"
    chosen = trust.chosen(codes)
    assert chosen[:3].all() and chosen[3:].sum() == 0


def test_when_all_keys_fall_together_the_world_has_changed_and_nobody_is_doubted() -> None:
    trust = calm(a=16, b=16)
    rulings = feed(trust, 10, {"a": 16, "b": 16}, {"a": 0.1, "b": 0.1})
    assert rulings == [] and doubts(trust) == {"a": None, "b": None}


def test_who_notices_a_common_change_a_little_later_is_not_doubted_for_it() -> None:
    trust = calm(a=16, b=16)
    feed(trust, 1, {"a": 32}, {"a": 0.0})  # a burst of one key comes first
    assert doubts(trust)["a"] == "suspected"
    rulings = feed(trust, 12, {"a": 4, "b": 12}, {"a": 0.0, "b": 0.1})
    assert rulings == [] and doubts(trust) == {"a": None, "b": None}


def test_a_key_that_sends_alone_is_the_world() -> None:
    trust = calm(only=32)
    assert feed(trust, 10, {"only": 32}, {"only": 0.0}) == []
    assert trust.chosen(trust.codes(["only"] * 32)).all() and not trust.several


def test_a_key_that_long_sent_nothing_is_no_witness_and_no_bound() -> None:
    trust = calm(a=16, gone=16)
    feed(trust, ALONE // 32 + 1, {"a": 32}, {"a": 0.9})
    assert not trust.several
    assert feed(trust, 10, {"a": 32}, {"a": 0.0}) == [] and doubts(trust)["a"] is None


def test_a_quarantined_key_that_is_left_alone_is_believed_again() -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 10, {"honest": 3, "other": 29}, {"honest": 0.9, "other": 0.0})
    rulings = feed(trust, ALONE // 32 + 1, {"other": 32}, {"other": 0.0})
    assert [(r.key, r.believed) for r in rulings] == [("other", True)]
    assert "no other key" in rulings[0].cause


def test_it_is_believed_again_when_its_labels_are_right_again() -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 10, {"honest": 16, "other": 16}, {"honest": 0.9, "other": 0.0})
    rulings = feed(trust, 10, {"honest": 16, "other": 16}, {"honest": 0.9, "other": 0.95})
    assert [(r.key, r.believed) for r in rulings] == [("other", True)]
    assert doubts(trust) == {"honest": None, "other": None}


def test_it_is_believed_again_in_a_harder_world_when_it_does_as_well_as_the_others() -> None:
    trust, both = calm(honest=16, other=16), {"honest": 16, "other": 16}
    feed(trust, 10, both, {"honest": 0.9, "other": 0.0})
    trust.new_world()
    assert feed(trust, 20, both, {"honest": 0.6, "other": 0.3}) == []
    rulings = feed(trust, 20, both, {"honest": 0.6, "other": 0.6})
    assert [(r.key, r.believed) for r in rulings] == [("other", True)]


def test_it_is_believed_again_when_a_second_key_sees_the_same() -> None:
    trust = calm(a=16, b=16)
    feed(trust, 10, {"a": 16, "b": 16}, {"a": 0.9, "b": 0.0})
    rulings = feed(trust, 10, {"a": 16, "b": 16}, {"a": 0.0, "b": 0.0})
    assert [(r.key, r.believed) for r in rulings] == [("b", True)]
    assert "the world has changed" in rulings[0].cause
    assert doubts(trust) == {"a": None, "b": None}


def test_a_newcomer_is_measured_by_what_is_usual_for_the_others() -> None:
    trust = calm(honest=32)
    rulings = feed(trust, 10, {"honest": 8, "new": 24}, {"honest": 0.9, "new": 0.0})
    assert [(r.key, r.believed) for r in rulings] == [("new", False)]


def test_labels_too_new_to_be_answered_say_nothing_of_their_sender() -> None:
    trust = calm(honest=16, other=16)
    keys = trust.codes(["honest"] * 16 + ["other"] * 16)
    for _ in range(10):
        trust.update(keys, [True] * 16 + [False] * 16, np.array([True] * 16 + [False] * 16))
    assert doubts(trust) == {"honest": None, "other": None}


def test_labels_become_known_however_many_there_are_and_rare_ones_stay_new() -> None:
    many = 1000
    labels, rng = Labels([*map(str, range(many)), "rare"]), np.random.default_rng(0)
    everyone = np.arange(many + 1)
    assert not labels.are_known(everyone).any()
    for _ in range(1000):
        labels.take(list(map(str, rng.integers(0, many, 32))))
    labels.take(["rare"])
    known = labels.are_known(everyone)
    assert known[:many].mean() > 0.8 and not known[many]


def test_while_several_send_one_key_has_at_most_its_share_of_a_batch() -> None:
    trust = calm(a=16, b=16)
    for count in (1, 8, 16, 17, 29, 31):
        codes = trust.codes(["a"] * count + ["b"] * (32 - count))
        chosen = trust.chosen(codes)
        assert chosen[:count].sum() == min(count, 16)
        assert chosen[count:].sum() == min(32 - count, 16)
    assert trust.chosen(trust.codes(["a"])).all()  # a batch of one is learned
    unbound = Trust(1.0, 0.1)
    feed(unbound, 5, {"a": 31, "b": 1}, {"a": 0.9, "b": 0.9})
    assert unbound.chosen(unbound.codes(["a"] * 31 + ["b"])).all()


@pytest.mark.parametrize("size", [2, 4, 32])
def test_the_doubted_have_a_share_of_the_others_however_small_the_batches_are(size: int) -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 10, {"honest": 16, "other": 16}, {"honest": 0.9, "other": 0.0})
    codes = trust.codes(["other", "honest"] * (size // 2))
    chosen = np.array([trust.chosen(codes) for _ in range(1920 // size)])
    assert 90 <= chosen[:, ::2].sum() <= 100 and chosen[:, 1::2].all()


def test_the_doubted_alone_are_not_trained_on() -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 10, {"honest": 16, "other": 16}, {"honest": 0.9, "other": 0.0})
    assert not any(trust.chosen(trust.codes(["other"] * 32)).any() for _ in range(100))


def test_an_alarm_that_one_key_alone_raises_is_none() -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 6, {"honest": 16, "other": 16}, {"honest": 0.92, "other": 0.8})
    assert doubts(trust)["other"] is None  # too little to be doubted at once
    ruling = trust.alone_in_alarm()
    assert ruling is not None and (ruling.key, ruling.believed) == ("other", False)
    both = calm(a=16, b=16)
    feed(both, 6, {"a": 16, "b": 16}, {"a": 0.8, "b": 0.8})
    assert both.alone_in_alarm() is None
    only = calm(a=32)
    feed(only, 6, {"a": 32}, {"a": 0.8})
    assert only.alone_in_alarm() is None


def test_beside_a_quarantined_key_the_others_tell_whether_the_world_has_changed_too() -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 4, {"honest": 16, "other": 16}, {"honest": 0.9, "other": 0.0})
    assert doubts(trust)["other"] == "quarantined" and not trust.others_show_it()
    feed(trust, 4, {"honest": 16}, {"honest": 0.75})  # too little to be doubted for
    assert doubts(trust)["honest"] is None and trust.others_show_it()


def test_a_believed_change_keeps_the_quarantined_where_they_are() -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 10, {"honest": 16, "other": 16}, {"honest": 0.9, "other": 0.0})
    trust.new_world()
    assert doubts(trust) == {"honest": None, "other": "quarantined"}


def test_the_record_goes_through_a_checkpoint() -> None:
    trust = calm(honest=16, other=16)
    feed(trust, 4, {"honest": 3, "other": 29}, {"honest": 0.9, "other": 0.0})
    again = Trust(0.5, 0.1)
    again.load_json(json.loads(json.dumps(trust.to_json())))
    assert again.to_json() == trust.to_json() and again.rows() == trust.rows()
    for one in (trust, again):
        feed(one, 9, {"honest": 3, "other": 29}, {"honest": 0.9, "other": 0.0})
    assert again.to_json() == trust.to_json()


def test_records_are_bounded_whatever_names_come() -> None:
    trust = Trust(0.5, 0.1)
    codes = trust.codes([f"key-{n}" for n in range(1000)])
    assert len(trust.senders) == 256 and codes.max() == 255
    assert RECENT == trust.senders[0].recent.maxlen
