"""A label that comes after the prediction makes a sample of its picture and scores the answer."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.answers.kept import Answers
from learndrop.answers.late_labels import VERSIONS_SCORED, LateLabels, Score
from learndrop.errors import (
    Contradiction,
    Expired,
    NotFound,
    RoleNeeded,
    ShareFull,
    StreamAway,
    StreamFull,
)
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.account import Counts
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep.dead_letters import DeadLetters
from tests.places import Places, places_of
from tests.servers import client_of, leading, server
from tests.services import pixels

__all__ = ["server"]


class Place:
    """Stored answers, labels for them and the stream that they end on."""

    def __init__(self, settings: Settings, server: EmbeddedRedis) -> None:
        self.settings, self.keys = settings, Keys(settings.name)
        self.answers, self.labels = Answers(settings), LateLabels(settings)
        self.publisher, self.worker = RedisPublisher(settings), leading(settings)
        self.redis = client_of(server)

    async def ask(self, *said: str, version: int = 1) -> list[str]:
        """Store an answer for each; the picture's first byte is its number."""
        images = pixels(len(said), side=4)
        images[:, 0, 0, 0] = range(len(said))
        told = [{"label": label, "model_version": version} for label in said]
        return await self.answers.put(told, images)

    def learn(self) -> list[Sample]:
        """What a worker finds on the stream, learned and acknowledged."""
        entries = self.worker.claim(1000, 0)
        if entries:
            self.worker.hold([e.id for e in entries])
        self.worker.release()
        self.worker.ack(self.worker.position)
        return [Sample.from_fields(e.fields) for e in entries]

    def bury(self) -> None:
        """Everything that waits cannot be learned."""
        for entry in self.worker.claim(1000, 0):
            self.worker.bury(entry, "wrong_size", "for the test")

    async def adds_up(self) -> Counts:
        counts = await self.publisher.counts()
        assert counts.missing == 0
        return counts

    async def close(self) -> None:
        for part in (self.answers, self.labels, self.publisher):
            await part.close()
        self.worker.close()
        self.redis.close()


Many = Places[Place]
make = places_of(Place)


@pytest.fixture
def place(make: Many) -> Place:
    return make()


async def test_the_picture_of_the_prediction_becomes_a_sample(place: Place) -> None:
    ids = await place.ask("cat", "cat")
    given = await place.labels.give(ids[1], "dög")
    assert given.outcome == "accepted"
    assert await place.adds_up() == Counts(1, 0, 0, 1)
    (entry,) = place.worker.claim(10, 0)
    sample = Sample.from_fields(entry.fields)
    assert (entry.id, sample.label) == (given.sample_id, "dög")
    assert np.array_equal(sample.image, (await place.answers.picture(ids[1]))[0])
    assert sample.image[0, 0, 0] == 1
    assert sample.accepted_s > 1.7e9
    place.worker.release()
    place.worker.ack(place.worker.position)
    assert await place.adds_up() == Counts(1, 1, 0, 0)
    assert int(place.redis.hget(place.keys.counters, "bytes")) == 0


async def test_the_answer_given_then_is_scored_with_its_version(place: Place) -> None:
    old, new = await place.ask("cat", "cat", version=3), await place.ask("dog", version=7)
    for prediction_id in (*old, *new):
        await place.labels.give(prediction_id, "cat")
    totals, by_version = await place.labels.scores()
    assert totals == Score(labelled=3, right=2)
    assert by_version == {7: Score(1, 0), 3: Score(2, 2)}
    assert by_version[3].accuracy == 1.0


async def test_the_same_label_again_changes_nothing(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    first = await place.labels.give(prediction_id, "cat")
    for _ in range(3):
        again = await place.labels.give(prediction_id, "cat")
        assert (again.outcome, again.sample_id) == ("repeated", first.sample_id)
    assert await place.adds_up() == Counts(1, 0, 0, 1)
    assert (await place.labels.scores())[0] == Score(1, 1)


async def test_another_label_is_refused_unless_it_is_a_correction(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    await place.labels.give(prediction_id, "cat")
    with pytest.raises(Contradiction) as refused:
        await place.labels.give(prediction_id, "dog")
    assert (refused.value.limit, refused.value.value) == ("cat", "dog")
    assert (await place.labels.scores())[0] == Score(1, 1)
    assert [s.label for s in place.learn()] == ["cat"]


async def test_a_correction_is_for_the_key_that_gave_the_label_or_an_admin(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    first = await place.labels.give(prediction_id, "cat", key="alice")
    with pytest.raises(RoleNeeded) as refused:
        await place.labels.give(prediction_id, "dog", correct=True, key="mallory")
    assert refused.value.role == "admin"
    assert place.redis.xlen(place.keys.deletions) == 0
    assert (await place.labels.scores())[0] == Score(1, 1)
    assert (await place.labels.give(prediction_id, "cat", key="mallory")).outcome == "repeated"
    own = await place.labels.give(prediction_id, "dog", correct=True, key="alice")
    assert (own.outcome, own.replaced) == ("corrected", first.sample_id)
    boss = await place.labels.give(prediction_id, "cat", correct=True, key="boss", of_others=True)
    assert boss.outcome == "corrected"
    with pytest.raises(RoleNeeded):  # it is the admin's now
        await place.labels.give(prediction_id, "dog", correct=True, key="alice")
    assert await place.answers.delete(prediction_id) == boss.sample_id
    assert not place.redis.exists(place.keys.given_by)


async def test_a_corrected_sample_is_forgotten_where_it_was_put_back(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    first = str((await place.labels.give(prediction_id, "dog")).sample_id)
    name, letters = first, DeadLetters(place.settings)
    for _ in range(2):
        place.bury()
        (head,), _ = await letters.page(None, 10)
        name = await letters.replay(head.id)
    await letters.close()
    given = await place.labels.give(prediction_id, "cat", correct=True)
    assert (given.outcome, given.replaced) == ("corrected", first)
    assert [s.label for s in place.learn()] == ["cat"]
    assert await place.adds_up() == Counts(2, 1, 0, 0, deleted=1)
    asked = [fields[b"sample"] for _, fields in place.redis.xrange(place.keys.deletions)]
    assert len(asked) == 3 and {first.encode(), name.encode()} < set(asked)
    assert (await place.publisher.fate(first)).status == "deleted"


@pytest.mark.parametrize("others", [0, 40])
async def test_the_dead_letter_of_a_corrected_sample_is_never_put_back(
    place: Place, others: int
) -> None:
    ids = await place.ask(*["cat"] * (others + 1))
    for prediction_id in ids:
        await place.labels.give(prediction_id, "dog")
    place.bury()
    await place.labels.give(ids[-1], "cat", correct=True)
    letters = DeadLetters(place.settings)
    assert (await letters.numbers())["wrong_size"] == others
    assert len((await letters.replay_all()).moved) == others
    await letters.close()
    assert sorted(s.label for s in place.learn()) == ["cat", *["dog"] * others]
    assert await place.adds_up() == Counts(others + 2, others + 1, 1, 0)


async def test_a_key_that_labels_takes_no_more_than_its_share(make: Many) -> None:
    place = make(max_pending=10, key_share=0.5)
    ids = await place.ask(*["cat"] * 8)
    for prediction_id in ids[:5]:
        await place.labels.give(prediction_id, "cat", key="alice")
    with pytest.raises(ShareFull, match="alice"):
        await place.labels.give(ids[5], "cat", key="alice")
    # What it replaces makes room for it, and others have room of their own.
    given = await place.labels.give(ids[0], "dog", key="alice", correct=True)
    assert given.outcome == "corrected"
    assert (await place.labels.give(ids[5], "cat", key="bob")).outcome == "accepted"
    assert (await place.labels.give(ids[6], "cat")).outcome == "accepted"
    assert await place.adds_up() == Counts(8, 0, 0, 7, deleted=1)


async def test_a_label_that_came_without_a_key_may_be_corrected_by_any(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    await place.labels.give(prediction_id, "cat")
    given = await place.labels.give(prediction_id, "dog", correct=True, key="alice")
    assert given.outcome == "corrected"


async def test_who_asked_is_told_and_no_field_of_the_sample(place: Place) -> None:
    told = [{"label": "cat", "model_version": 1}]
    (prediction_id,) = await place.answers.put(told, pixels(1, side=4), asked_by="camera")
    assert (await place.answers.get(prediction_id)).asked_by == "camera"
    assert (await place.answers.picture(prediction_id))[1] == "camera"
    await place.labels.give(prediction_id, "cat", key="alice")
    (entry,) = place.worker.claim(10, 0)
    assert b"asked-by" not in entry.fields and entry.fields[b"key"] == b"alice"


async def test_a_correction_replaces_a_sample_that_still_waits(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    first = await place.labels.give(prediction_id, "cat")
    given = await place.labels.give(prediction_id, "dog", correct=True)
    assert (given.outcome, given.replaced) == ("corrected", first.sample_id)
    assert await place.adds_up() == Counts(2, 0, 0, 1, deleted=1)
    assert [s.label for s in place.learn()] == ["dog"]
    assert (await place.labels.scores())[0] == Score(1, 0)
    assert (await place.answers.get(prediction_id)).label == "dog"
    assert (await place.labels.give(prediction_id, "dog", correct=True)).outcome == "repeated"
    assert (await place.publisher.fate(str(first.sample_id))).status == "deleted"


async def test_a_correction_of_a_learned_sample_is_learned_as_well(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    await place.labels.give(prediction_id, "dog")
    assert [s.label for s in place.learn()] == ["dog"]
    given = await place.labels.give(prediction_id, "cat", correct=True)
    assert [s.label for s in place.learn()] == ["cat"]
    assert given.sample_id is not None
    assert await place.adds_up() == Counts(2, 2, 0, 0)
    assert (await place.labels.scores())[0] == Score(1, 1)


async def test_a_correction_before_any_label_is_a_first_label(place: Place) -> None:
    (prediction_id,) = await place.ask("cat")
    assert (await place.labels.give(prediction_id, "cat", correct=True)).outcome == "accepted"


@pytest.mark.parametrize("prediction_id", ["", "x", "9" * 15 + "-0", "+", "1-1-1"])
async def test_a_prediction_that_never_was_is_unknown(place: Place, prediction_id: str) -> None:
    with pytest.raises(NotFound) as refused:  # nothing was ever asked
        await place.labels.give(prediction_id, "cat")
    assert type(refused.value) is NotFound
    await place.ask("cat")
    with pytest.raises(NotFound) as refused:
        await place.labels.give(prediction_id, "cat")
    assert type(refused.value) is NotFound
    assert await place.adds_up() == Counts(0, 0, 0, 0)


async def test_a_deleted_prediction_is_unknown_and_its_label_gone(place: Place) -> None:
    ids = await place.ask("cat", "cat", "cat")
    given = await place.labels.give(ids[1], "cat")
    assert await place.answers.delete(ids[1]) == given.sample_id
    with pytest.raises(NotFound) as refused:
        await place.labels.give(ids[1], "cat")
    assert type(refused.value) is NotFound
    assert place.redis.hlen(place.keys.given) == place.redis.hlen(place.keys.given_samples) == 0
    with pytest.raises(NotFound):
        await place.answers.delete(ids[1])


async def test_a_prediction_that_made_room_has_expired_and_took_its_label_along(
    make: Many,
) -> None:
    place = make(predictions_kept=3)
    ids = await place.ask("cat", "cat")
    await place.labels.give(ids[0], "cat")
    await place.ask("cat", "cat", "cat")
    for prediction_id in ids:
        with pytest.raises(Expired):
            await place.labels.give(prediction_id, "cat")
    assert place.redis.hlen(place.keys.given) == place.redis.hlen(place.keys.given_samples) == 0
    assert (await place.labels.scores())[0] == Score(1, 1)  # what was scored stays scored


async def test_a_prediction_over_its_age_has_expired(make: Many) -> None:
    place = make()
    ids = await place.ask("cat", "cat")
    short = make(place.settings.model_copy(update={"predictions_ttl_s": 1e-9}))
    with pytest.raises(Expired):
        await short.labels.give(ids[0], "cat")
    with pytest.raises(NotFound):
        await short.answers.get(ids[0])
    with pytest.raises(NotFound):
        await short.answers.picture(ids[0])
    assert (await short.answers.page(None, 10))[0] == []
    assert await short.answers.expire() == 2
    assert place.redis.xlen(place.keys.predictions) == 0
    with pytest.raises(Expired):  # also when none is left to compare with
        await place.labels.give(ids[1], "cat")


async def test_without_kept_pixels_a_label_only_scores(make: Many) -> None:
    place = make(predictions_pixels=False)
    (prediction_id,) = await place.ask("cat")
    given = await place.labels.give(prediction_id, "cat")
    assert (given.outcome, given.sample_id) == ("scored", None)
    assert (await place.labels.give(prediction_id, "cat")).outcome == "repeated"
    corrected = await place.labels.give(prediction_id, "dog", correct=True)
    assert (corrected.outcome, corrected.replaced) == ("corrected", None)
    assert await place.adds_up() == Counts(0, 0, 0, 0)
    assert (await place.labels.scores())[0] == Score(1, 0)
    with pytest.raises(NotFound, match="not kept"):
        await place.answers.picture(prediction_id)


async def test_a_full_stream_takes_no_label_and_scores_nothing(make: Many) -> None:
    place = make(max_pending=1)
    ids = await place.ask("cat", "cat")
    await place.labels.give(ids[0], "cat")
    with pytest.raises(StreamFull):
        await place.labels.give(ids[1], "cat")
    assert (await place.labels.scores())[0] == Score(1, 1)
    assert (await place.labels.give(ids[0], "cat")).outcome == "repeated"
    place.learn()
    assert (await place.labels.give(ids[1], "cat")).outcome == "accepted"
    assert await place.adds_up() == Counts(2, 1, 0, 1)


async def test_scores_are_kept_of_a_bounded_number_of_versions(place: Place) -> None:
    for version in range(1, VERSIONS_SCORED + 4):
        (prediction_id,) = await place.ask("cat", version=version)
        await place.labels.give(prediction_id, "cat")
    totals, by_version = await place.labels.scores()
    assert totals.labelled == VERSIONS_SCORED + 3
    assert list(by_version) == list(range(VERSIONS_SCORED + 3, 3, -1))


async def test_the_bytes_of_kept_answers_are_bounded_and_add_up(make: Many) -> None:
    place = make(predictions_bytes=2000)
    for _ in range(30):
        await place.ask("cat", "dog")
    held = sum(
        len(value)
        for _, fields in place.redis.xrange(place.keys.predictions)
        for value in fields.values()
    )
    assert 1500 < held <= 2000
    assert int(place.redis.get(place.keys.held_answers[1])) == held
    for answer in (await place.answers.page(None, 100))[0]:
        await place.answers.delete(answer.id)
    assert int(place.redis.get(place.keys.held_answers[1])) == 0


async def test_a_bound_that_was_lowered_is_reached(make: Many) -> None:
    place = make()
    for _ in range(10):
        await place.ask(*["cat"] * 50)
    tight = make(place.settings.model_copy(update={"predictions_kept": 5}))
    assert await tight.answers.expire() == 495
    assert len((await tight.answers.page(None, 100))[0]) == 5


async def test_without_redis_every_way_says_so() -> None:
    labels = LateLabels(load_settings(redis_url="redis://127.0.0.1:1/0"))
    for ask in (labels.give("1-1", "cat"), labels.scores()):
        with pytest.raises(StreamAway):
            await ask
    await labels.close()
