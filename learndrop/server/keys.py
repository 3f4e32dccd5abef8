"""Where one model's things lie in Redis; nothing else spells a key."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "learners"
"""Name of the consumer group on the stream."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the model called `name`.

    Attributes:
        name: `settings.name`; several models share one server under different names.
    """

    name: str

    def _key(self, thing: str) -> str:
        return f"learndrop:{self.name}:{thing}"

    @property
    def stream(self) -> str:
        """Stream of samples that are accepted and not yet learned; one entry a sample."""
        return self._key("stream")

    @property
    def dead(self) -> str:
        """Stream of buried entries: their fields, and why."""
        return self._key("dead")

    @property
    def dead_reasons(self) -> str:
        """Hash: how many of the buried entries that are kept lie there for each reason."""
        return self._key("dead-reasons")

    @property
    def counters(self) -> str:
        """Hash: the account, vanished, bytes (of waiting pixels), rate, seen (last id in hand),
        acked (last id), epoch (of this hash), uncounted (until bytes and waiting:KEY, how many wait
        of an API key, are counted anew), folder (id of the data folder that it was learned
        into), emptied (until a checkpoint has what came since all was lost), behind (where a stream
        ended that lost its end, and how much it had),
        gap (what the worker waits for)."""
        return self._key("counters")

    @property
    def lease(self) -> str:
        """Hash: token, beat and owner of the worker that leads."""
        return self._key("lease")

    @property
    def fates(self) -> str:
        """Stream of how each sample ended, under the sample's own id."""
        return self._key("fates")

    @property
    def published(self) -> str:
        """Stream of model versions, under the id of the last sample that each has learned."""
        return self._key("published")

    @property
    def moved(self) -> str:
        """Sorted set: old and new id of samples that were put back, by the time in the old one."""
        return self._key("moved")

    @property
    def deletions(self) -> str:
        """Stream of samples that the worker must forget, until no checkpoint has them."""
        return self._key("deletions")

    def receipt(self, sample_id: str) -> str:
        """String: what was done to delete a sample, as JSON; it goes after its time."""
        return self._key(f"receipt:{sample_id}")

    @property
    def aside(self) -> str:
        """Sorted set: fates of samples that ended before their turn, by the time in their id; at
        most 100,000, until a checkpoint has come so far."""
        return self._key("aside")

    @property
    def audit(self) -> str:
        """Stream of what admins did."""
        return self._key("audit")

    @property
    def audit_refused(self) -> str:
        """Stream of what others tried that is for admins: it must not push out what admins did."""
        return self._key("audit-refused")

    @property
    def audit_keys(self) -> str:
        """String: the API keys as the audit trail was told last, each by a hash."""
        return self._key("audit-keys")

    @property
    def batches(self) -> str:
        """Hash: batches that came with a key of their own; when, what they held, their ids."""
        return self._key("batches")

    @property
    def batches_order(self) -> str:
        """List of these, the newest first, each with its time; those of an API key in `...:KEY`."""
        return self._key("batches-order")

    @property
    def batches_held(self) -> str:
        """Sorted set: how many of these each sender has; `:KEY` of a key, else empty."""
        return self._key("batches-held")

    @property
    def remembered(self) -> list[str]:
        """What every script needs that remembers batches, in its order."""
        return [self.batches, self.batches_order, self.batches_held]

    @property
    def names(self) -> str:
        """Hash: names that senders gave to samples, and the ids that these got."""
        return self._key("names")

    @property
    def names_order(self) -> str:
        """List of these names, the newest first; those of an API key in `...:KEY`."""
        return self._key("names-order")

    @property
    def names_held(self) -> str:
        """Sorted set: how many of these names each sender has."""
        return self._key("names-held")

    @property
    def in_hand(self) -> str:
        """String: ids of the entries that the worker is learning at this moment."""
        return self._key("in-hand")

    @property
    def suspects(self) -> str:
        """Hash: how often an entry was in hand when the worker died."""
        return self._key("suspects")

    @property
    def foreign(self) -> str:
        """Set: ids of waiting entries that somebody else than the service wrote."""
        return self._key("foreign")

    @property
    def probe(self) -> str:
        """Never there: a write to it only if it is tells whether the server takes writes."""
        return self._key("probe")

    @property
    def types(self) -> dict[str, str]:
        """The type of each key but those of which there are many: receipts, and API keys' lists."""
        streams = [self.stream, self.dead, self.fates, self.published, self.events]
        streams += [self.predictions, self.deletions, self.audit, self.audit_refused]
        hashes = [self.counters, self.suspects, self.lease, self.dead_reasons, self.batches]
        hashes += [self.names, self.given, self.given_samples, self.given_by]
        hashes += [self.scores, self.score_totals]
        strings = [self.in_hand, self.audit_keys, self.state, self.predictions_bytes]
        return {
            **dict.fromkeys(streams, "stream"),
            **dict.fromkeys(hashes, "hash"),
            **dict.fromkeys(strings, "string"),
            **dict.fromkeys((self.batches_order, self.names_order), "list"),
            **dict.fromkeys((self.aside, self.moved, self.batches_held, self.names_held), "zset"),
            self.foreign: "set",
        }

    @property
    def settled(self) -> list[str]:
        """What every script needs that takes entries off the stream, in its order."""
        return [self.stream, self.counters, self.foreign, self.suspects, self.aside]

    @property
    def state(self) -> str:
        """String: the learner's state as JSON."""
        return self._key("state")

    @property
    def events(self) -> str:
        """Stream of what happened to the learner."""
        return self._key("events")

    @property
    def predictions(self) -> str:
        """Stream of answers that can be asked for again, with their pixels."""
        return self._key("predictions")

    @property
    def predictions_bytes(self) -> str:
        """String: bytes of these answers with their pixels."""
        return self._key("predictions-bytes")

    @property
    def given(self) -> str:
        """Hash: the label that came for an answer, after the id of the sample made of it."""
        return self._key("given")

    @property
    def given_samples(self) -> str:
        """Hash: the answer's id for each sample that was made of one."""
        return self._key("given-samples")

    @property
    def given_by(self) -> str:
        """Hash: name of the API key that each such label came from; none where none was needed."""
        return self._key("given-by")

    @property
    def held_answers(self) -> list[str]:
        """What every script needs that takes answers away, in its order."""
        return [
            self.predictions, self.predictions_bytes, self.given, self.given_samples, self.given_by
        ]  # fmt: skip

    @property
    def scores(self) -> str:
        """Hash: how many labelled answers of each model version were right, and how many are."""
        return self._key("scores")

    @property
    def score_totals(self) -> str:
        """Hash: the same over all versions, `right` and `labelled`."""
        return self._key("score-totals")
