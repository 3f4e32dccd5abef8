"""What the learner does about a drift: at the warning, at the alarm, at the verdict, and when a
reset fell short.

From cheap to dear, each only as far as it is needed: new names for the head's rows; BatchNorm's
statistics; the weights of an earlier world that has come back; the units that the change touches;
all units; a candidate that was perturbed, if it proves better; one that begins afresh, likewise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learndrop.belief.sender import Ruling
from learndrop.drift.candidate import LIFE, Candidate
from learndrop.drift.earlier import Ended, fits_better, is_back, restored
from learndrop.drift.head_fault import head_alone
from learndrop.drift.watch import Alarm, Verdict
from learndrop.learning import moving, trial
from learndrop.learning.life import Recovery
from learndrop.learning.parts import Parts

PROBED = 128  # newest samples that weights are tried on
LEAST = 64  # samples of the new world: fewer tell nothing of weights
ENOUGH = 0.97  # of the accuracy before: then nothing needs to come back
HELD = 0.95  # of it, later on: else it does
DONE = {
    "labels": "what is dropped stays dropped",
    "statistics": "new statistics of BatchNorm are enough, what is dropped stays dropped",
    "touched": "what it touches comes back",
    "candidate": "the candidate that was begun at the warning takes over",
}


def answer(learner: Parts, noticed: Alarm | Verdict | None) -> None:
    """Act on what the watch says of one batch."""
    if isinstance(noticed, Alarm) and (lone := learner.belief.trust.alone_in_alarm()):
        learner.watch.withdraw()
        for ruling in learner.belief.heed([lone]):
            learner.rule(ruling)
    elif isinstance(noticed, Alarm):
        moving.abandon_thaw(learner, "a drift was told: what was thawed is as before")
        _end_world(learner, noticed)
        learner.life.drifts += 1
        learner.replay.new_world(since=learner.progress.samples - noticed.samples)
        before, after = noticed.before, noticed.after
        learner.tell("drift", noticed.cause, error_before=before, error_after=after)
        trial.call(learner)
    elif isinstance(noticed, Verdict):
        _take_in(learner, noticed)
    elif learner.watch.warned and _may_begin(learner):
        learner.candidate = Candidate(learner.trainer, "warned")


def heard(learner: Parts, ruling: Ruling) -> Ruling:
    """A ruling about a key. If the alarm on trial was its alone, that is taken back: weights, cut
    and world are as before it."""
    on_trial = learner.watch.monitor.on_trial and not ruling.believed
    if not on_trial or learner.belief.trust.others_show_it():
        return ruling
    learner.watch.withdraw()
    trial.dismiss(learner)
    learner.rehearsal.open_store()
    learner.settling.scorer.start(learner.trainer.trained)
    ended = learner.replay.world - 1
    learner.replay.rejoin(ended)
    learner.earlier.worlds = [w for w in learner.earlier.worlds if w.world != ended]
    return replace(
        ruling, cause=f"{ruling.cause}; the drift that was told is none, it was this key's"
    )


def beside(learner: Parts, x: Tensor, targets: NDArray[np.int64], right: NDArray[np.bool_]) -> None:
    """Let the candidate, if there is one, answer and learn one batch, and judge it when it is time.

    Args:
        learner: whose candidate it is.
        x: float [N, 3, S, S].
        targets: class indices [N].
        right: what the learner answered right [N].
    """
    candidate = learner.candidate
    if candidate is None:
        return
    rate, classes = learner.rate_after(candidate.samples), learner.chain.classes
    candidate.learn(x, targets, right, rate, classes)
    candidate.cost(learner.ledger, len(targets))
    if candidate.samples < candidate.life or learner.watch.monitor.on_trial:
        return
    learner.candidate = None
    if candidate.kind == "warned":
        return
    own, others, n = candidate.accuracies()
    if fits_better(own, others, n):
        told = f"after {candidate.samples} samples: {own:.3f} against {others:.3f}"
        _take_over(learner, candidate)
        moving.bring_back(
            learner, 0, f"the {candidate.kind} candidate is better {told}", kind=candidate.kind
        )
    elif candidate.kind == "perturbed" and others < candidate.wanted:
        learner.candidate = _fresh(learner, candidate.wanted)


def check_recovery(learner: Parts) -> None:
    """At the end of a window: a reset that did not help is followed by a stronger one."""
    recovery = learner.recovery
    if recovery is None or learner.progress.samples < recovery.due_samples:
        return
    if learner.watch.monitor.on_trial:  # the verdict begins another one
        return
    # what has come back since is no longer out
    recovery.kept = min(recovery.kept, learner.trainer.cut)
    n = learner.settings.window_samples
    now = learner.progress.newest_accuracy(n)
    enough = not learner.settings.drop or now >= recovery.wanted(n)
    if not enough and recovery.kept and _on_its_way(learner, recovery, n):
        return
    learner.recovery = None
    if enough:
        return
    if recovery.kept > 0:
        learner.adapt_statistics()
        before = recovery.accuracy_before
        learner.recovery = Recovery(before, _due(learner), 0)
        cause, lost = recovery.failed(now, n), _lost(now, before)
        moving.bring_back(learner, 0, cause, lost=lost, statistics=True, kind="all")
    elif learner.settings.candidate and not learner.progress.improves(n):
        seed = learner.settings.seed + learner.progress.samples
        learner.candidate = Candidate(
            learner.trainer, "perturbed", seed=seed, wanted=recovery.wanted(n)
        )


def _on_its_way(learner: Parts, recovery: Recovery, n: int) -> bool:
    """Whether answers still get better, for as long again as the reset had: the head, with few
    samples of each of many classes, may yet come back alone."""
    until = recovery.due_samples + learner.settings.recovery_samples
    return learner.progress.samples < until and learner.progress.improves(n)


def _fresh(learner: Parts, wanted: float) -> Candidate:
    """One with the first weights. It has as long as a reset has to help: what begins from nothing
    is worse at first."""
    life = max(LIFE, learner.settings.recovery_samples)
    candidate = Candidate(learner.trainer, "fresh", life=life, wanted=wanted)
    candidate.begin_anew(learner.first_weights())
    return candidate


def _may_begin(learner: Parts) -> bool:
    """Where all units train already, and just so, a candidate would do the same."""
    idle = learner.candidate is None and learner.recovery is None
    return learner.settings.candidate and learner.settings.drop and idle and learner.trainer.cut > 0


def _end_world(learner: Parts, alarm: Alarm) -> None:
    """Keep the weights of a world that has lasted: those from before the alarm's samples came."""
    begin, end = learner.life.world_start, learner.progress.samples - alarm.samples
    if end - begin >= learner.settings.recovery_samples:
        world, cut = learner.replay.world, learner.trainer.cut
        ended = Ended(world, begin, end, 1.0 - alarm.before, cut)
        learner.earlier.keep(ended, learner.guard.good)


def _take_in(learner: Parts, verdict: Verdict) -> None:
    """Some batches after the alarm: do what the change asks for."""
    learned = trial.dismiss(learner)
    verdict = _told_from_head(learner, verdict)
    learner.trainer.rename(verdict.renames)
    learner.replay.misname({*verdict.renames, *verdict.renames.values()})
    candidate, learner.candidate = learner.candidate, None
    # what enters the head is as before where it alone is at fault
    statistics = verdict.onset is not None and verdict.onset < len(learner.chain.units)
    if statistics:
        learner.adapt_statistics()
    places = learner.replay.newest(PROBED)
    now = learner.right_at(places)
    if _come_back(learner, places, now, verdict):
        return
    depth, onset = learner.trainer.cut, verdict.onset
    before = verdict.accuracy_before
    back_to, share, kind = depth, 0.9, "labels"
    if statistics and len(places) >= LEAST and now >= ENOUGH * before:
        share, kind = HELD, "statistics"
    elif onset is not None and learner.settings.drop:
        back_to, kind = min(depth, max(0, onset - 1)), "touched"
    if candidate is not None and back_to < depth:
        own, others, n = candidate.accuracies(candidate.samples)
        if fits_better(own, others, n) and own > now:
            _take_over(learner, candidate)
            back_to, kind = 0, "candidate"
    if learned and kind == "touched" and back_to < depth and not verdict.renames:
        restored(learner.chain, learned)  # whole: the later units have learned with the earlier
        learner.adapt_statistics()
    # neither pictures nor names tell what it was: then the next window has to show that it is over
    soon = learner.progress.samples + learner.settings.window_samples
    due = soon if verdict.unexplained else _due(learner)
    learner.recovery = Recovery(before, due, back_to, share)
    names = learner.classes
    names_of_units = [u.name for u in learner.chain.units]
    moving.bring_back(
        learner,
        back_to,
        f"{verdict.cause(names_of_units)}: {DONE[kind]}",
        lost=_lost(now, before) if len(places) >= LEAST else 1.0,
        statistics=statistics,
        kind=kind,
        accuracy=round(now, 4),
        onset=onset,
        strengths=[round(s, 2) for s in verdict.strengths],
        renamed_share=verdict.renamed_share,
        renamed={names[new]: names[old] for new, old in verdict.renames.items()},
    )


def _told_from_head(learner: Parts, verdict: Verdict) -> Verdict:
    """The verdict; with the head as its onset where it is that, not the input."""
    parts = learner.trainer, learner.replay, learner.floats, learner.ledger
    if verdict.still and head_alone(*parts, verdict.accuracy_before):
        return replace(verdict, onset=len(learner.chain.units))
    return verdict


def _come_back(learner: Parts, places: NDArray[np.int64], now: float, verdict: Verdict) -> bool:
    """Take back the weights of the earlier world that fits the newest samples best, if one does.

    Samples of few classes tell of those only: weights that answer nothing else would do.
    """
    if len(places) < LEAST or not learner.earlier.worlds or learner.rehearsal.narrow:
        return False
    present = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    tried: list[tuple[float, Ended]] = []
    for ended in learner.earlier.worlds:
        restored(learner.chain, ended.weights)
        tried.append((learner.right_at(places), ended))
    found, ended = max(tried, key=lambda pair: pair[0])
    n = len(places)
    if not (fits_better(found, now, n) and is_back(ended, found, n)):
        restored(learner.chain, present)
        return False
    restored(learner.chain, learner.earlier.take(ended).weights)
    cut = ended.cut if learner.settings.drop else 0
    learner.replay.rejoin(ended.world)
    learner.recovery = Recovery(ended.accuracy, _due(learner), cut)
    cause = (
        f"a world of before is back, that of samples {ended.begin} to {ended.end}: with its weights"
        f" {found:.3f} of the newest answers are right, {now:.3f} without"
    )
    moving.bring_back(
        learner,
        cut,
        cause,
        statistics=False,
        kind="earlier",
        accuracy=round(found, 4),
        onset=verdict.onset,
        strengths=[round(s, 2) for s in verdict.strengths],
    )
    learner.life.world_start -= ended.end - ended.begin  # it is not a young world
    learner.life.begun = 0
    return True


def _take_over(learner: Parts, candidate: Candidate) -> None:
    """The candidate's weights become the learner's."""
    restored(learner.chain, candidate.trainer.chain.state_dict())


def _lost(now: float, before: float) -> float:
    """The share of the right answers that are wrong now."""
    return 1.0 - now / before if before > 0.0 else 1.0


def _due(learner: Parts) -> int:
    return learner.progress.samples + learner.settings.recovery_samples
