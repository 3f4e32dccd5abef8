"""What the learner does about a drift: at the alarm, at the verdict, and when a reset fell short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learndrop.life import Recovery
from learndrop.watch import Alarm, Verdict

if TYPE_CHECKING:
    from learndrop.learner import Learner


def answer(learner: Learner, noticed: Alarm | Verdict | None) -> None:
    """Act on what the watch says of one batch."""
    if isinstance(noticed, Alarm) and (lone := learner.belief.trust.alone_in_alarm()):
        learner.watch.withdraw()
        for ruling in learner.belief.heed([lone]):
            learner.rule(ruling)
    elif isinstance(noticed, Alarm):
        learner.life.drifts += 1
        learner.replay.new_world(since=learner.progress.samples - noticed.samples)
        before, after = noticed.before, noticed.after
        learner.tell("drift", noticed.cause, error_before=before, error_after=after)
    elif isinstance(noticed, Verdict):
        take_in(learner, noticed)


def take_in(learner: Learner, verdict: Verdict) -> None:
    """Some batches after the alarm: bring back what the change touches."""
    learner.trainer.rename(verdict.renames)
    depth, onset = learner.trainer.cut, verdict.onset
    touched = onset is not None and learner.settings.drop
    back_to = min(depth, max(0, (onset or 0) - 1)) if touched else depth
    due = learner.progress.samples + learner.settings.recovery_samples
    learner.recovery = Recovery(verdict.accuracy_before, due, back_to)
    names = learner.classes
    learner.bring_back(
        back_to,
        verdict.cause([u.name for u in learner.chain.units]),
        statistics=onset is not None,
        onset=onset,
        strengths=[round(s, 2) for s in verdict.strengths],
        renamed_share=verdict.renamed_share,
        renamed={names[new]: names[old] for new, old in verdict.renames.items()},
    )


def check_recovery(learner: Learner) -> None:
    """At the end of a window: a reset that did not help is followed by a stronger one."""
    trial = learner.recovery
    if trial is None or learner.progress.samples < trial.due_samples:
        return
    learner.recovery = None
    now = learner.progress.newest_accuracy(learner.settings.window * learner.settings.batch)
    more_to_return = learner.settings.drop and trial.kept > 0 and learner.trainer.cut > 0
    if more_to_return and not trial.helped(now):
        learner.bring_back(0, trial.failed(now), statistics=True)
