"""Moves the cut: units leave training, come back, or train for a window and leave again."""

from __future__ import annotations

from typing import Any

from learndrop.learning.parts import Parts
from learndrop.standard_error import standard_error
from learndrop.training.rates import begun

ASKED = 64  # newest samples: of a change that matters they tell, and cost little


def judge(learner: Parts) -> None:
    """A window is over: read the scores, and do what they say. While a drift is on trial nothing is
    decided, and what was said of dropped units stays."""
    if learner.witness is not None:
        return
    settled = learner.recovery is None and not learner.watch.monitor.on_trial
    move = learner.settling.read(
        learner.trainer.cut,
        learner.progress,
        commonest=learner.labels.commonest,
        may_freeze=learner.settings.drop and settled,
        may_thaw=learner.candidate is None,
    )
    if move is None:
        return
    if move.type == "drop":
        drop_to(learner, move.cut, move.cause)
    elif move.type == "thaw":
        # stored maps stay where they are: if the thaw is taken back, they are as good as before
        learner.trainer.move_cut(move.cut)
        learner.tell("thaw", move.cause)
    elif move.type == "close":
        close(learner, move.cut, move.cause)
    else:
        move_cut(learner, move.cut, fresh=move.type == "return")
        learner.tell(move.event, move.cause)


def drop_to(learner: Parts, cut: int, cause: str) -> None:
    """Take the first `cut` units out of training, physically."""
    move_cut(learner, cut)
    learner.returned -= set(range(cut))
    learner.life.drops += 1
    learner.publish_soon()
    learner.tell("drop", cause)


def bring_back(
    learner: Parts, back_to: int, cause: str, *, lost: float = 1.0, **detail: Any
) -> None:
    """Train from unit `back_to` on in what is a new world; `detail` goes into the event."""
    depth, life = learner.trainer.cut, learner.life
    learner.trainer.move_cut(back_to, fresh=True)
    learner.trainer.forget_momentum()
    learner.returned |= set(range(back_to, depth))
    age = life.begun + learner.samples_in_world
    life.begun = begun(age, lost, learner.settings.rate_halving)
    life.world_start, life.resets = learner.progress.samples, life.resets + 1
    learner.settling.start_over(back_to)
    learner.guard.end_window()  # the way back from here is not one behind the change
    learner.belief.new_world()
    learner.rehearsal.open_store()
    learner.settling.scorer.start(learner.trainer.trained)
    learner.publish_soon()
    learner.tell("reset", cause, returned=max(0, depth - back_to), **detail)


def close(learner: Parts, cut: int, cause: str) -> None:
    """Drop again what was thawed, as it stands: a mean over one window would be of its beginning,
    and its statistics have been taken while it trained."""
    learner.trainer.move_cut(cut)
    learner.rehearsal.open_store()
    learner.tell("drop", cause)


def abandon_thaw(learner: Parts, cause: str) -> None:
    """End a thaw, if there is one, before its window does: what was dropped is as it was again."""
    thawing = learner.settling.thawing
    if thawing.trial is None:
        return
    cut = thawing.trial.back_to
    thawing.take_back(harmed=False)
    close(learner, cut, cause)
    learner.settling.scorer.start(learner.trainer.trained)


def move_cut(learner: Parts, cut: int, *, fresh: bool = False) -> None:
    """Train from unit `cut` on; what leaves training does so as the mean of its latest steps."""
    if cut > learner.trainer.cut:
        _become_means(learner, cut)
    learner.trainer.move_cut(cut, fresh=fresh)
    learner.rehearsal.open_store()


def _become_means(learner: Parts, cut: int) -> None:
    """Give the units that leave, up to `cut`, the means of their latest steps, and BatchNorm the
    statistics that belong to them: of the whole world.

    While the world moves and nobody has noticed, both are of what was. So the newest samples are
    asked before and after, and if they are answered worse everything is as it was.
    """
    as_it_is = {name: t.clone() for name, t in learner.chain.state_dict().items()}
    newest = learner.replay.newest(ASKED)
    before = learner.right_at(newest)
    learner.trainer.take_averages(cut)
    if not learner.rehearsal.narrow:  # else the steps were made with the statistics as they are
        learner.adapt_statistics(start=learner.trainer.cut)
    if learner.right_at(newest) < before - standard_error(before, ASKED):
        learner.chain.load_state_dict(as_it_is)
