"""What the learner tells of itself: the body of `GET /v1/state`, as JSON values."""

from __future__ import annotations

import math
from typing import Any

from learndrop.learning.parts import Parts
from learndrop.replay.replaying import effective_classes


def overview(learner: Parts) -> dict[str, Any]:
    """The learner's state.

    Unit states: `training`; `frozen` (on probation, no gradient, not yet dropped); `dropped`;
    `returned` (in training again since a drift); `thawed` (dropped, and in training for a window,
    or until the verdict on a drift).
    """
    ledger = learner.ledger
    rows = unit_rows(learner)
    life = learner.life
    return {
        "samples_learned": learner.progress.samples,
        "prequential": {
            "accuracy": learner.progress.accuracy,
            "lifetime_accuracy": learner.progress.lifetime_accuracy,
            "window": learner.settings.accuracy_window,
            "loss": None if math.isnan(learner.progress.loss) else learner.progress.loss,
        },
        "drop": {
            "depth": sum(r["state"] == "dropped" for r in rows),
            "frozen": sum(r["state"] == "frozen" for r in rows),
            "thaws": learner.settling.thawing.count,
            "total": len(rows),
            "units": rows,
        },
        "drift": {"count": life.drifts, "error": learner.watch.detector.error},
        "flops": ledger.totals(),
        "seconds": dict(life.seconds),
        "rate": learner.rate,
        "steps": life.steps,
        "skipped_steps": life.skipped,
        "hurried_steps": life.hurried,
        "taken_back": learner.guard.backs,
        "why": conditions(learner),
        "replay": {
            "samples": learner.replay.size,
            "capacity": learner.replay.capacity,
            "bytes": learner.replay.nbytes,
            "world": learner.replay.world,
            "repeats": learner.replay.repeats,
        },
        "features": learner.rehearsal.keeping.rows(),
        **learner.belief.rows(),
        "classes": list(learner.classes),
        "network": learner.spec.to_json(),
        "precision": learner.precision.to_json(),
        "device": str(learner.device),
        "model": {"version": life.version or None, "published_s": life.published_s or None},
    }


def conditions(learner: Parts) -> list[str]:
    """What is out of the ordinary now, one sentence each; empty where nothing is."""
    settings, replay, samples = learner.settings, learner.replay, learner.progress.samples
    rows = learner.settling.row_bytes[1:]
    recent = effective_classes(learner.labels.recent_counts().tolist())
    usual = effective_classes(learner.labels.long_run.tolist())
    budget = learner.features.max_bytes
    beside = "older ones are replayed beside them"
    if settings.replays == "0":
        beside = "with LEARNDROP_REPLAYS at 0 the others may be forgotten"
    found = {
        learner.guard.why: bool(learner.guard.why),
        learner.settling.held_back: bool(learner.settling.held_back),
        f"the newest samples are of {recent:.1f} classes, {usual:.1f} is usual:"
        f" {beside}": learner.rehearsal.narrow,
        f"{replay.repeats} of {samples} pictures came again as they were: replay holds each"
        " once": replay.repeats > 0.1 * samples,
        f"LEARNDROP_FEATURE_BYTES is {settings.feature_bytes}, with all tiers {budget}: no maps"
        " of one batch fit for any cut, nothing is dropped": bool(rows)
        and settings.drop
        and min(rows) * settings.batch > budget,
        **dict.fromkeys(learner.rehearsal.keeping.trouble(), True),
        f"LEARNDROP_HURRY_WAITING ({settings.hurry_waiting}) samples or more wait: steps train the"
        " last units alone": learner.hurry.now,
        "the network is one unit: nothing can be dropped": not rows,
        "batches of one have no spread: BatchNorm keeps the statistics that it has": (
            settings.batch == 1 and replay.size > 0
        ),
    }
    return [sentence for sentence, holds in found.items() if holds]


def unit_rows(learner: Parts) -> list[dict[str, Any]]:
    """One row a unit, in the order of the network."""
    cut = learner.trainer.cut
    settling = learner.settling
    frozen_from = settling.probation.back_to if settling.probation else cut
    thawed = settling.thawing.trial.back_to if settling.thawing.trial else 0
    how_long = "for one window"
    if learner.witness is not None:
        thawed, how_long = learner.witness.cut, "until the drift's verdict"
    whole = sum(u.flops for u in learner.chain.units) or 1
    rows = []
    for unit in learner.chain.units:
        position = unit.position
        record = settling.rule.records[position]
        why = record.why
        if position >= len(learner.chain.units) - learner.settings.keep_units:
            why = "the last units are never dropped"
        if position < thawed:
            state, why = "thawed", f"dropped, and in training {how_long}"
        elif position >= cut:
            state = "returned" if position in learner.returned else "training"
        elif position >= frozen_from:
            state, why = "frozen", f"on probation; {record.why}"
        else:
            state, why = "dropped", f"learned: {record.why}"
        if not learner.settings.drop:
            why = "dropping is switched off (LEARNDROP_DROP)"
        rows.append(
            {
                "name": unit.name,
                "position": position,
                "state": state,
                "scores": settling.unit_scores.get(position, {}),
                "why": why,
                "parameters": unit.parameters,
                "flops_share": unit.flops / whole,
            }
        )
    return rows
