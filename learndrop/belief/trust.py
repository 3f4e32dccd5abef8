"""How far each sender is believed, from how well its labels agree with the answers; torch-free.

Wrong labels look like a change of the world, and whoever sends ten times as much as the others
would teach them. So while several keys send:

- at most `share` of a batch is trained on for one key; its other samples are answered and learned
  from as replays only. (More weight for the others would let a key that sends little rule a step.)
- a key whose answers fall far below what they were is suspected: from that batch on at most
  `quarantine` of what the others send is trained on, and it is not replayed and is no drift;
- the next `WITNESSES` samples of other keys then decide. Have their answers fallen too, the world
  has changed and all are believed again; have they not, the key is quarantined, by name;
- it is believed again once its answers are again what they were or what those of the others have
  become, once another key's fall too, or once it sends alone: no other key among the newest `ALONE`
  samples.

A key that sends alone is never suspected and has no bound: what it says is the world.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.belief.sender import LEAST, LEAST_FALL, RECENT, Ruling, Sender, fell

WITNESSES = 24
ALONE = 4096
USUAL = 512  # verdicts over which what is usual is taken
SETTLED = 128  # of these a key must have before its own past counts, not that of the others
MOST_KEYS = 256  # those beyond share a record


class Trust:
    """The record of every key.

    Args:
        share: most of a batch that is trained on for one key while several send; 1 is no bound.
        quarantine: of the doubted keys so much of what is trained on from the others.
    """

    def __init__(self, share: float, quarantine: float) -> None:
        self.share, self.quarantine = share, quarantine
        self.senders: list[Sender] = []
        self._codes: dict[str, int] = {}
        self._now = 0
        self._credit = 0.0

    def codes(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """A number [N] for each key; a key keeps its number."""
        for key in dict.fromkeys(keys):
            if key not in self._codes and len(self.senders) < MOST_KEYS:
                self._codes[key] = len(self.senders)
                self.senders.append(Sender(key))
        return np.array([self._codes.get(key, MOST_KEYS - 1) for key in keys], np.int64)

    def update(
        self, codes: NDArray[np.int64], right: Sequence[bool], fair: NDArray[np.bool_]
    ) -> list[Ruling]:
        """Take the verdicts on one batch.

        Args:
            codes: who sent each sample [N].
            right: whether each was answered as labelled.
            fair: bool [N]; False where the answer could not be right, because the label is new.
        """
        self._now += len(codes)
        for code, verdict, counts in zip(codes.tolist(), right, fair.tolist(), strict=True):
            sender = self.senders[code]
            sender.last = self._now
            if not counts:
                continue
            sender.recent.append(verdict)
            for other in self.senders:
                if other.doubt == "suspected" and other is not sender:
                    other.witnesses.append(verdict)
        rulings = self._judge()
        # only now: a fall must not become usual before it is judged
        for code, verdict, counts in zip(codes.tolist(), right, fair.tolist(), strict=True):
            sender = self.senders[code]
            if counts and not sender.doubt:
                sender.count = min(USUAL, sender.count + 1)
                sender.usual += (verdict - sender.usual) / sender.count
        return rulings

    def believed(self, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these senders [N] is believed."""
        doubted = [code for code, sender in enumerate(self.senders) if sender.doubt]
        return ~np.isin(codes, doubted) if doubted else np.ones(len(codes), bool)

    def chosen(self, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which samples of a batch [N] are trained on: all but the surplus of a key over its share,
        and of the doubted ones. Evenly spread over the batch, and without chance."""
        chosen = np.ones(len(codes), bool)
        if not self.several:
            return chosen
        believed = self.believed(codes)
        for code in np.unique(codes[believed]):
            mine = np.flatnonzero(codes == code)
            _thin(chosen, mine, math.ceil(self.share * len(codes)))
        if not believed.all():
            doubted = np.flatnonzero(~believed)
            # never without others beside them, and by these, not by the size of the batch: liars
            # that send ten times as much would else be half of what is learned
            self._credit = min(self._credit, 1.0) + self.quarantine * chosen[believed].sum()
            most = min(int(self._credit), len(doubted)) if believed.any() else 0
            _thin(chosen, doubted, most)
            self._credit -= most
        return chosen

    @property
    def several(self) -> bool:
        """Whether more than one key is among the newest samples."""
        return len(self._sending()) > 1

    def alone_in_alarm(self) -> Ruling | None:
        """Asked when an alarm was raised: the one key that it comes from, if others send and none
        of them shows it; that key is then quarantined. None if the alarm is to be believed."""
        sending = [s for s in self._sending() if not s.doubt and len(s.recent) >= LEAST]
        fallen = [s for s in sending if s.accuracy < s.usual - LEAST_FALL / 4]
        if len(fallen) != 1 or len(sending) < 2:
            return None
        self._doubt(fallen[0], fallen[0].usual)
        return self._lock_up(fallen[0], "no other key shows the change that it raised an alarm for")

    def others_show_it(self) -> bool:
        """Asked when a key was quarantined after an alarm: whether those that are believed, taken
        together, show a change too."""
        others = [s for s in self._sending() if not s.doubt]
        now = _mean([(s.accuracy, len(s.recent)) for s in others])
        usual = _mean([(s.usual, s.count) for s in others])
        return now is None or usual is None or now < usual - LEAST_FALL / 2

    def new_world(self) -> None:
        """A change was believed: what is usual is learned anew, for all keys but the doubted."""
        for sender in self.senders:
            if not sender.doubt:
                sender.start_over()

    def believe(self, code: int) -> None:
        """Take a doubt back."""
        self.senders[code].start_over()

    # -- judging ----------------------------------------------------------------------------

    def _judge(self) -> list[Ruling]:
        rulings = []
        for sender in self._sending():
            expected = self._expected(sender)
            if not sender.doubt and self.several and expected is not None:
                if fell(sender.accuracy, expected, len(sender.recent)):
                    self._doubt(sender, expected)
                    rulings += self._agreed()
        for sender in self.senders:
            if sender.doubt == "suspected":
                rulings += self._hear_witnesses(sender)
            if sender.doubt:
                rulings += self._release(sender)
        return rulings

    def _doubt(self, sender: Sender, expected: float) -> None:
        sender.doubt, sender.since, sender.expected = "suspected", self._now, expected
        sender.witnesses = []

    def _agreed(self) -> list[Ruling]:
        """A second key fell while another one was quarantined: both saw the same."""
        locked = [s for s in self.senders if s.doubt == "quarantined"]
        if not locked:
            return []
        why = "the answers to another key fell too: the world has changed"
        rulings = [self._ruling(s, believed=True, cause=why) for s in locked]
        for sender in [s for s in self.senders if s.doubt]:
            sender.start_over()
        return rulings

    def _hear_witnesses(self, sender: Sender) -> list[Ruling]:
        if len(sender.witnesses) < WITNESSES:
            return []
        heard = sum(sender.witnesses) / len(sender.witnesses)
        others = [s for s in self._sending() if s is not sender]
        usual = _mean([(s.expected if s.doubt else s.usual, s.count) for s in others])
        if usual is None or fell(heard, usual, len(sender.witnesses)):
            # they see it too: the drift detector has the word, and what was usual is past for all
            for other in self._sending():
                if other.doubt != "quarantined":
                    other.start_over()
            return []
        return [self._lock_up(sender, f"the other keys stay at {heard:.2f}")]

    def _lock_up(self, sender: Sender, why: str) -> Ruling:
        sender.doubt = "quarantined"
        cause = (
            f"answers to key {sender.name!r} fell from {sender.expected:.2f} to"
            f" {sender.accuracy:.2f}; {why}: {self.quarantine:g} of what others send is learned"
        )
        return self._ruling(sender, believed=False, cause=cause)

    def _release(self, sender: Sender) -> list[Ruling]:
        again = self._now - sender.since >= RECENT and len(sender.recent) == RECENT
        alone = all(self._now - s.last >= ALONE for s in self.senders if s is not sender)
        others = self._usual_of_others(sender)  # the world may have become a harder one since
        wanted = sender.expected if others is None else min(sender.expected, others)
        if again and sender.accuracy >= 0.9 * wanted:
            why = f"answers to it are right again: {sender.accuracy:.2f}"
        elif alone:
            why = f"no other key was among the newest {ALONE} samples"
        else:
            return []
        told = sender.doubt == "quarantined"
        ruling = self._ruling(sender, believed=True, cause=f"key {sender.name!r}: {why}")
        sender.start_over()
        return [ruling] if told else []

    def _ruling(self, sender: Sender, *, believed: bool, cause: str) -> Ruling:
        code = self.senders.index(sender)
        return Ruling(sender.name, code, believed, sender.since, cause)

    def _expected(self, sender: Sender) -> float | None:
        if sender.count >= SETTLED:
            return sender.usual
        return self._usual_of_others(sender)

    def _usual_of_others(self, sender: Sender) -> float | None:
        others = [s for s in self._sending() if s is not sender and not s.doubt]
        return _mean([(s.usual, s.count) for s in others if s.count >= SETTLED])

    def _sending(self) -> list[Sender]:
        return [s for s in self.senders if s.last >= 0 and self._now - s.last < ALONE]

    # -- what others see --------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """One row a key, for the state."""
        return [
            {
                "key": s.name,
                "accuracy": s.accuracy if s.recent else None,
                "usual": s.usual if s.count else None,
                "doubt": s.doubt or None,
                "since_samples": s.since if s.doubt else None,
            }
            for s in self.senders
        ]

    def to_json(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        senders = [
            {
                **{k: getattr(s, k) for k in ("name", "usual", "count", "last", "doubt", "since")},
                "expected": s.expected,
                "recent": _bits(s.recent),
                "witnesses": _bits(s.witnesses),
            }
            for s in self.senders
        ]
        return {"now": self._now, "credit": self._credit, "senders": senders}

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self._now, self._credit = data["now"], data["credit"]
        self.senders = []
        for row in data["senders"]:
            recent = deque((c == "1" for c in row["recent"]), maxlen=RECENT)
            witnesses = [c == "1" for c in row["witnesses"]]
            self.senders.append(Sender(**{**row, "recent": recent, "witnesses": witnesses}))
        self._codes = {s.name: code for code, s in enumerate(self.senders)}


def _thin(chosen: NDArray[np.bool_], places: NDArray[np.int64], most: int) -> None:
    """Leave `most` of the places chosen."""
    if len(places) > most:
        chosen[places] = False
        if most:
            chosen[places[np.linspace(0, len(places) - 1, most).round().astype(int)]] = True


def _mean(parts: Sequence[tuple[float, int]]) -> float | None:
    weight = sum(n for _, n in parts)
    return sum(value * n for value, n in parts) / weight if weight else None


def _bits(verdicts: Sequence[bool] | deque[bool]) -> str:
    return "".join("1" if v else "0" for v in verdicts)
