"""One object that learns without end: test, notice, train, drop, bring back.

A page shows the order of things (`learn`); the parts live in files of their own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop import networks, units
from learndrop.drift import DriftDetector
from learndrop.dropping import DropRule, best_cut
from learndrop.errors import NotLearnedYet
from learndrop.events import Event, EventType
from learndrop.features import FeatureStore
from learndrop.ledger import Ledger
from learndrop.location import ActivationMonitor, renamed_share, renames
from learndrop.messages import Sample
from learndrop.precision import Choice, choose
from learndrop.progress import Progress
from learndrop.rates import rate_at
from learndrop.replay import ReplayBuffer
from learndrop.replaying import replays_for
from learndrop.scores import MotionScorer
from learndrop.settings import Settings
from learndrop.spec import NetworkSpec
from learndrop.trainer import Trainer
from learndrop.versions import pack

RECENT_LABELS = 256  # samples over which the present mix of classes is taken


@dataclass(frozen=True, slots=True)
class Report:
    """What one call of `learn` did.

    Attributes:
        count: samples learned.
        correct: how many of them were answered right before they were learned.
        loss: mean cross-entropy of the training step (NaN where it was skipped).
        events: what happened, in order.
        should_publish: the network changed enough that a new version should not wait.
        seconds: spent in this call, by part: test, train, build.
    """

    count: int
    correct: int
    loss: float
    events: list[Event]
    should_publish: bool
    seconds: Mapping[str, float]


@dataclass
class Probation:
    """Units frozen, not yet dropped: what the coming window is compared with."""

    back_to: int
    error: float
    samples: int


@dataclass
class Recovery:
    """A reset on trial: was it enough?"""

    accuracy_before: float
    due_samples: int
    kept: int


@dataclass
class Life:
    """Counters that survive a restart."""

    steps: int = 0
    world_start: int = 0
    drifts: int = 0
    drops: int = 0
    version: int = 0
    published_s: float = 0.0
    skipped: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"test": 0.0, "train": 0.0, "build": 0.0}
    )


class Learner:
    """Learns labelled images as they come and drops what it has learned.

    Args:
        settings: see `learndrop.settings`.
        precision: as measured before; measured now when not given.
        clock: seconds; only for the accounts, never for a decision.

    Raises:
        BadNetwork: if the network cannot be built or cut.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        precision: Choice | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings, self._clock = settings, clock
        torch.manual_seed(settings.seed)
        self.classes: list[str] = list(settings.classes)
        self._index = {label: i for i, label in enumerate(self.classes)}
        self.spec = NetworkSpec.from_settings(settings)
        self.device = _device(settings.device)
        size = settings.image_size
        model = networks.build(
            settings.network,
            max(2, len(self.classes)),
            weights=settings.weights,
            seed=settings.seed,
            image_size=size,
        )
        chain = units.cut(model, torch.zeros(1, 3, size, size))
        self.precision = precision or choose(
            chain,
            torch.zeros(settings.batch, 3, size, size),
            self.device,
            settings.precision,
            settings.memory_format,
        )
        self.chain = chain
        self.trainer = Trainer(chain, settings, self.device, self.precision)
        self.ledger = Ledger(chain)
        self.progress = Progress(settings.accuracy_window, 4 * settings.window * settings.batch)
        self.detector = DriftDetector(settings.drift_delta, settings.drift_cooldown)
        self.monitor = ActivationMonitor(len(chain.units))
        self.scorer = MotionScorer()
        self.rule = DropRule(
            len(chain.units),
            settings.persistence_low,
            settings.settled_windows,
            settings.warmup_windows,
            settings.keep_units,
        )
        self.replay = ReplayBuffer(
            (size, size, 3),
            samples=settings.replay_samples,
            max_bytes=settings.replay_bytes,
            old_world_weight=settings.old_world_weight,
            seed=settings.seed,
        )
        self.features = FeatureStore(settings.feature_bytes)
        self.life = Life()
        self.probation: Probation | None = None
        self.recovery: Recovery | None = None
        self.unit_scores: dict[int, dict[str, float]] = {}
        self.returned: set[int] = set()
        self.recent_labels: deque[int] = deque(maxlen=RECENT_LABELS)
        self.long_run = np.zeros(max(2, len(self.classes)))
        self.recent_events: deque[Event] = deque(maxlen=settings.events_kept)
        self.drift_error = 0.0
        self.trial_answers: list[int] = []
        self.trial_targets: list[int] = []
        self._new_events: list[Event] = []
        self._publish = False
        self.scorer.start(self.trainer.trained)

    # -- the page ---------------------------------------------------------------------------

    def learn(self, samples: Sequence[Sample], *, train: bool = True) -> Report:
        """Answer the samples, then learn them.

        Args:
            samples: images [size, size, 3] uint8 with their labels.
            train: False takes the answers and the labels in but makes no step (a control that
                learns fewer samples).

        Returns:
            what happened.
        """
        self._new_events, self._publish = [], False
        before = dict(self.life.seconds)
        images = np.stack([s.image for s in samples])
        targets = self._targets([s.label for s in samples])
        ids = np.arange(self.progress.samples, self.progress.samples + len(samples))

        with self._timed("test"):
            x = self.floats(images)
            _, logits, outputs = self.trainer.test(x, watch=True)
            answers = logits.argmax(1).cpu().numpy()
            right = (answers == targets).tolist()
            self.monitor.update([x, *outputs[:-1]])  # the logits grow with the labels
        self.ledger.test(len(samples))
        self.progress.add(right)
        self.replay.add(images, targets, ids)
        self._notice(right, answers, targets)

        maps = x if self.trainer.cut == 0 else outputs[self.trainer.cut - 1]
        self.features.put(ids, maps)
        loss = self._train(maps, targets) if train else float("nan")
        if train and self.life.steps % self.settings.window == 0:
            self._read_window()
        spent = {part: s - before[part] for part, s in self.life.seconds.items()}
        return Report(len(samples), sum(right), loss, list(self._new_events), self._publish, spent)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities [N, classes] for images [N, size, size, 3], by the full network.

        Raises:
            NotLearnedYet: before the first label was learned.
        """
        if not self.classes or (self.progress.samples == 0 and not self.settings.weights):
            raise NotLearnedYet("nothing has been learned yet")
        _, logits, _ = self.trainer.test(self.floats(images))
        shares = logits[:, : len(self.classes)].softmax(1).cpu().numpy()
        return np.asarray(shares, np.float32)

    # -- train ------------------------------------------------------------------------------

    def _train(self, maps: Tensor, targets: NDArray[np.int64]) -> float:
        n, cut = len(targets), self.trainer.cut
        places = self._places_to_replay(n * self._replays())
        if len(places):
            with self._timed("build"):
                maps = torch.cat([maps, self._replayed_maps(places)])
            targets = np.concatenate([targets, self.replay.targets[places]])
        rate = self.rate
        with self._timed("train"):
            loss = self.trainer.step(
                maps.to(self.device), torch.from_numpy(targets).to(self.device), rate
            )
        if np.isfinite(loss):
            self.scorer.after_step(rate)
            self.progress.loss = loss
        else:
            self.life.skipped += 1
            self.trainer.forget_momentum()
            self._tell("skip", f"loss or gradient is {loss}: the step was not taken")
        self.ledger.train(cut, len(targets), arriving=n)
        self.life.steps += 1
        return loss

    def _replays(self) -> int:
        if self.settings.replays != "auto":
            return int(self.settings.replays)
        counts = np.bincount(np.array(self.recent_labels), minlength=len(self.long_run))
        in_world = self.progress.samples - self.life.world_start
        if self.trainer.cut and self.replay.world and in_world < self.settings.rate_halving:
            return 3  # a new world on stored maps: a step costs little, and the maps are exact
        young = not self.settings.weights and in_world < 2 * self.settings.rate_halving
        return replays_for(counts.tolist(), self.long_run.tolist(), young=young)

    def _places_to_replay(self, n: int) -> NDArray[np.int64]:
        """Where maps are stored, replays come from there but for a quarter, which comes from
        anywhere and fills the store: never a stall to build it, never a store that cannot learn
        of other classes."""
        if n == 0 or self.trainer.cut == 0 or not len(self.features):
            return self.replay.draw(n if self.trainer.cut == 0 else n // 4)
        stored = self.features.holds(self.replay.ids[: self.replay.size])
        return np.concatenate(
            [self.replay.draw(n - n // 4, among=stored), self.replay.draw(n // 4)]
        )

    def _replayed_maps(self, places: NDArray[np.int64]) -> Tensor:
        cut = self.trainer.cut
        if cut == 0:
            return self.floats(self.replay.images[places])
        ids = self.replay.ids[places]
        stored, hit = self.features.get(ids)
        if hit.all():
            return stored
        # a miss is made from the raw pixels: at most a quarter of the replays, see above
        made = self.trainer.prefix(self.floats(self.replay.images[places[~hit]]))
        self.ledger.build(0, cut, int((~hit).sum()))
        self.features.put(ids[~hit], made)
        if not hit.any():
            return made
        maps = made.new_empty((len(ids), *made.shape[1:]))
        maps[torch.from_numpy(hit)] = stored.to(made.dtype)
        maps[torch.from_numpy(~hit)] = made
        return maps

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return rate_at(
            self.progress.samples - self.life.world_start,
            top=self.settings.rate,
            floor=self.settings.rate_floor,
            halving=self.settings.rate_halving,
        )

    # -- drop -------------------------------------------------------------------------------

    def _read_window(self) -> None:
        scores = self.scorer.read()
        self.unit_scores.update(scores)
        ceiling = self.rule.read({u: s.get("persistence") for u, s in scores.items()})
        if self.probation is not None:
            self._end_probation(self.probation)
        elif self.settings.drop and self.recovery is None:
            cut = best_cut(
                ceiling,
                self.trainer.cut,
                seconds=self.ledger.step_costs(),
                row_bytes=self._row_bytes(),
                budget=self.settings.feature_bytes,
                batch=self.settings.batch,
            )
            # settled weights in a network that still gets better are not learned weights
            if cut > self.trainer.cut and not self.progress.improves(
                2 * self.settings.window * self.settings.batch
            ):
                self._freeze(cut)
        self._check_recovery()
        self.scorer.start(self.trainer.trained)

    def _freeze(self, cut: int) -> None:
        window = self.settings.window * self.settings.batch
        self.probation = Probation(
            self.trainer.cut,
            1.0 - self.progress.newest_accuracy(window),
            self.progress.samples,
        )
        self.trainer.move_cut(cut)
        self._open_store()
        names = ", ".join(u.name for u in self.chain.units[self.probation.back_to : cut])
        self._tell("freeze", f"{names} settled: on probation for one window")

    def _end_probation(self, trial: Probation) -> None:
        self.probation = None
        n = max(1, self.progress.samples - trial.samples)
        error = 1.0 - self.progress.newest_accuracy(n)
        slack = 0.01 + 2.0 * (max(trial.error * (1 - trial.error), 0.01) * 2 / n) ** 0.5
        told = f"error {error:.3f} against {trial.error:.3f} before, {slack:.3f} allowed"
        if error > trial.error + slack:
            self.trainer.move_cut(trial.back_to)
            self._open_store()
            self.rule.start_over(trial.back_to)
            self._tell("return", f"frozen too early: {told}")
            return
        self.drop_to(self.trainer.cut, f"units settled and held on probation: {told}")

    def drop_to(self, cut: int, cause: str) -> None:
        """Take the first `cut` units out of training, physically."""
        self.trainer.move_cut(cut)
        self._open_store()
        self.returned -= set(range(cut))
        self.life.drops += 1
        self._publish = True
        self._tell("drop", cause)

    def _open_store(self) -> None:
        """Store maps of the present cut; those already stored stay if the prefix is the same."""
        cut = self.trainer.cut
        if cut == 0:
            self.features.clear()
            return
        key = (cut, self.trainer.prefix_hash())
        if self.features.key != key:
            self.features.open(*key, self.chain.units[cut - 1].out_shape, str(self.device))

    def _row_bytes(self) -> list[int]:
        """bytes of one stored map, by cut (bfloat16: half of float32)."""
        return [0] + [u.out_bytes // 2 for u in self.chain.units[:-1]]

    # -- drift ------------------------------------------------------------------------------

    def _notice(
        self, right: Sequence[bool], answers: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> None:
        if self.monitor.on_trial:
            self.trial_answers += answers.tolist()
            self.trial_targets += targets.tolist()
            if self.monitor.trial_is_over:
                self._take_in_drift()
            return
        for verdict in right:
            self.detector.update(not verdict)
            if self.detector.drift_detected:
                self._raise_alarm()
                return

    def _raise_alarm(self) -> None:
        before, after = self.detector.before, self.detector.after
        self.life.drifts += 1
        self.drift_error = before
        self.replay.new_world(since=self.progress.samples - self.detector.width)
        self._tell(
            "drift",
            f"error rose from {before:.3f} to {after:.3f}",
            error_before=before,
            error_after=after,
        )
        self.detector.reset()
        self.monitor.start_trial()
        self.trial_answers, self.trial_targets = [], []

    def _take_in_drift(self) -> None:
        """Some batches after the alarm: where does the change begin, and what comes back?"""
        onset, strengths = self.monitor.onset()
        renamed = renamed_share(self.trial_answers, self.trial_targets)
        told = ""
        if renamed is not None:
            # the answers know better than the statistics: a turned picture has those of an upright
            # one, and a batch of unlucky pictures shifts them without meaning anything
            told = f"; with new names for the classes {renamed:.2f} of the answers would be right"
            scattered = renamed < 0.8 * (1.0 - self.drift_error)
            onset = (onset or 0) if scattered else None
        renamed_rows: dict[int, int] = {}
        if onset is None:
            if renamed is not None:
                renamed_rows = renames(self.trial_answers, self.trial_targets)
                self.trainer.rename(renamed_rows)
            told = "the labels changed: what is dropped stays dropped" + told
        else:
            begins = f"the change begins at {self._place_name(onset)}"
            told = f"{begins}: what it touches comes back{told}"
        depth = self.trainer.cut
        self.probation = None
        touched = onset is not None and self.settings.drop
        back_to = min(depth, max(0, (onset or 0) - 1)) if touched else depth
        self.recovery = Recovery(
            1.0 - self.drift_error,
            self.progress.samples + self.settings.recovery_samples,
            back_to,
        )
        self._bring_back(
            back_to,
            told,
            statistics=onset is not None,
            onset=onset,
            strengths=[round(s, 2) for s in strengths],
            renamed_share=renamed,
            renamed={self.classes[new]: self.classes[old] for new, old in renamed_rows.items()},
        )

    def _bring_back(self, back_to: int, cause: str, *, statistics: bool, **detail: Any) -> None:
        """Return the units from `back_to` on to training, with a fresh optimizer and rate."""
        depth = self.trainer.cut
        self.trainer.move_cut(back_to, fresh=True)
        self.trainer.forget_momentum()
        self.returned |= set(range(back_to, depth))
        self.life.world_start = self.progress.samples
        self.rule.start_over(back_to)
        self.scorer.forget()
        if statistics:
            self._adapt_statistics()
        self._open_store()
        self.scorer.start(self.trainer.trained)
        self._publish = True
        self._tell("reset", cause, returned=depth - back_to, statistics=statistics, **detail)

    def _adapt_statistics(self) -> None:
        """Take BatchNorm's statistics anew from the samples of the new world, if it has enough."""
        places = self.replay.newest(256)
        if len(places) < 64:
            return
        with self._timed("build"):
            self.trainer.adapt_statistics(self.floats(self.replay.images[places]))
        self.ledger.build(0, len(self.chain.units), len(places))

    def _check_recovery(self) -> None:
        trial = self.recovery
        if trial is None or self.progress.samples < trial.due_samples:
            return
        self.recovery = None
        now = self.progress.newest_accuracy(self.settings.window * self.settings.batch)
        helped = now >= 0.9 * trial.accuracy_before
        if self.settings.drop and trial.kept > 0 and self.trainer.cut > 0 and not helped:
            self._bring_back(
                0,
                f"accuracy {now:.3f} did not come back to 0.9 of {trial.accuracy_before:.3f}:"
                " the next stronger reset",
                statistics=True,
            )

    def _place_name(self, onset: int) -> str:
        return "the input" if onset == 0 else self.chain.units[onset - 1].name

    # -- labels, tensors, time --------------------------------------------------------------

    def floats(self, images: NDArray[np.uint8]) -> Tensor:
        """Images [N, S, S, 3] uint8 as the network's input [N, 3, S, S] float32."""
        x = networks.to_float(
            torch.from_numpy(np.ascontiguousarray(images)).to(self.device),
            self.settings.pixel_mean,
            self.settings.pixel_std,
        )
        return x.contiguous(memory_format=self.precision.memory_format)

    def _targets(self, labels: Sequence[str]) -> NDArray[np.int64]:
        new = [label for label in dict.fromkeys(labels) if label not in self._index]
        if new:
            for label in new:
                self._index[label] = len(self.classes)
                self.classes.append(label)
            outputs = self.chain.classes
            if len(self.classes) > outputs:
                self.trainer.grow(len(self.classes))
                self.ledger.rebind(self.chain)
                self.scorer.start(self.trainer.trained)
            self.long_run = np.concatenate(
                [self.long_run, np.zeros(max(0, len(self.classes) - len(self.long_run)))]
            )
            self._publish = True
            self._tell("grow", f"new labels: {', '.join(new[:5])}", classes=len(self.classes))
        targets = np.array([self._index[label] for label in labels], np.int64)
        self.recent_labels.extend(targets.tolist())
        self.long_run *= (1 - 1e-4) ** len(targets)  # forgets over ten thousand samples
        np.add.at(self.long_run, targets, 1.0)
        return targets

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = self._clock()
        yield
        self.life.seconds[part] += self._clock() - start

    def _tell(self, type_: EventType, cause: str, **detail: Any) -> None:
        event = Event(type_, time.time(), self.progress.samples, cause, self.trainer.cut, detail)
        self.recent_events.append(event)
        self._new_events.append(event)

    # -- what others see --------------------------------------------------------------------

    def export(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The full network for the registry: safetensors bytes by unit, and what it is."""
        return pack(self)

    def published(self, version: int) -> Event:
        """Told by the worker when a version is out."""
        self._new_events = []
        self.life.version, self.life.published_s = version, time.time()
        self._tell("publish", f"version {version}", version=version)
        return self._new_events[0]

    def state(self) -> dict[str, Any]:
        """Everything `GET /v1/state` tells of the learner, as JSON values."""
        from learndrop.overview import overview

        return overview(self)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
