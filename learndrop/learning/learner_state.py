"""A learner taken apart into tensors and JSON values, and put together again, bit for bit.

Optimizer state goes by parameter name, so what was taken after a drop or a reset resumes as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from learndrop.drift.candidate import Candidate
from learndrop.drift.witness import Witness
from learndrop.events import Event
from learndrop.learning.learner import Learner
from learndrop.learning.life import Life, Recovery
from learndrop.networks.chain import Chain
from learndrop.networks.spec import NetworkSpec
from learndrop.settings import Settings
from learndrop.training.first_rate import KNOWING, with_rate
from learndrop.training.precision import Choice

# What the first learndrop of this format knows of both. It takes nothing else there, and must still
# read what this one writes: all that is younger has names of its own.
LIFE = (
    "steps",
    "world_start",
    "drifts",
    "drops",
    "version",
    "published_s",
    "skipped",
    "seconds",
)
RECOVERY = ("accuracy_before", "due_samples", "kept")


def tensors_of(learner: Learner) -> dict[str, Tensor]:
    """Every tensor that it needs to go on, by part and name."""
    parts: dict[str, Mapping[str, Tensor]] = {
        "weights": learner.chain.state_dict(),
        "momentum": learner.trainer.optimizer.momentum(),
        "averages": learner.trainer.averages.tensors(),
        "settling": learner.settling.tensors(),
        "guard": learner.guard.tensors(),
        "rehearsal": learner.rehearsal.tensors(),
        "belief": learner.belief.tensors(),
        "earlier": learner.earlier.tensors(),
        "candidate": learner.candidate.tensors() if learner.candidate else {},
        "witness": learner.witness.tensors() if learner.witness else {},
        "other": {
            "long_run": torch.from_numpy(learner.labels.long_run),
            "torch_rng": torch.get_rng_state(),
            **_rng_of(learner.device),
        },
    }
    return {
        f"{part}/{name}": tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def values_of(learner: Learner) -> dict[str, Any]:
    """All else that it needs to go on, as JSON can hold it."""
    lived = asdict(learner.life)
    recovery = asdict(learner.recovery) if learner.recovery else None
    return {
        "classes": learner.classes,
        "first_rate": learner.first_rate,
        "recent_labels": list(learner.labels.recent),
        "cut": learner.trainer.cut,
        "averages": learner.trainer.averages.to_json(),
        "life": {name: lived.pop(name) for name in LIFE},
        "lived": lived,
        "recovery": recovery and {name: recovery.pop(name) for name in RECOVERY},
        "recovering": recovery,
        "returned": sorted(learner.returned),
        "events": [e.to_json() for e in learner.recent_events],
        "progress": learner.progress.to_json(),
        "unsure": learner.unsure.to_json(),
        "watch": learner.watch.to_json(),
        "settling": learner.settling.to_json(),
        "guard": learner.guard.to_json(),
        "rehearsal": learner.rehearsal.to_json(),
        "ledger": learner.ledger.to_json(),
        "precision": learner.precision.to_json(),
        "belief": learner.belief.to_json(),
        "earlier": learner.earlier.to_json(),
        "candidate": learner.candidate.to_json() if learner.candidate else None,
        "witness": learner.witness.to_json() if learner.witness else None,
    }


def restored(
    settings: Settings, values: dict[str, Any], tensors: dict[str, Tensor], chain: Chain | None
) -> Learner:
    """The learner of which these are the values and tensors.

    Args:
        settings: as those that it was made with.
        values: see `values_of`.
        tensors: see `tensors_of`.
        chain: the network, cut, where it is none that the settings can name.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    # by its own first weights, which are not here any more; it was one for all networks before
    first_rate = values.get("first_rate", KNOWING)
    settings = with_rate(settings, first_rate)
    # the classes as they had grown; first weights are not needed, all come from the checkpoint
    known = settings.model_copy(update={"classes": tuple(values["classes"]), "weights": ""})
    if chain is not None:
        chain.grow(max(chain.classes, len(values["classes"])))
    measured = Choice.from_json(values["precision"])
    choice = measured.under(settings.precision, settings.memory_format)
    learner = Learner(known, precision=choice, chain=chain)
    learner.settings, learner.spec = settings, NetworkSpec.from_settings(settings)
    learner.first_rate = first_rate
    learner.chain.load_state_dict(parts["weights"])
    learner.trainer.load_momentum(parts.get("momentum", {}), values["cut"])
    if "averages" in values:  # younger than the format, as all that is asked for so
        learner.trainer.averages.load(parts.get("averages", {}), values["averages"])
    learner.labels.load(values["recent_labels"], parts["other"]["long_run"].numpy())
    learner.life = Life(**_fields(Life, values["life"] | values.get("lived", {})))
    if values["recovery"]:
        recovery = values["recovery"] | (values.get("recovering") or {})
        learner.recovery = Recovery(**_fields(Recovery, recovery))
    learner.returned = set(values["returned"])
    learner.recent_events = deque(
        (Event.from_json(e) for e in values["events"]), maxlen=settings.events_kept
    )
    learner.progress.load_json(values["progress"])
    learner.unsure.load_json(values.get("unsure", ()))
    learner.watch.load_json(values["watch"])
    learner.rehearsal.load(parts["rehearsal"], values["rehearsal"])
    learner.ledger.load_json(values["ledger"])
    learner.settling.load(parts.get("settling", {}), values["settling"], learner.trainer.trained)
    if "belief" in values:
        learner.belief.load(parts["belief"], values["belief"])
    if "guard" in values:  # not in checkpoints of 0.1.0's first days
        learner.guard.load(parts["guard"], values["guard"])
    learner.earlier.load(parts.get("earlier", {}), values.get("earlier", []))
    if values.get("candidate"):
        learner.candidate = Candidate.from_state(
            learner.trainer, parts["candidate"], values["candidate"]
        )
    if values.get("witness"):
        learner.witness = Witness.from_state(learner.trainer, parts["witness"], values["witness"])
    torch.set_rng_state(parts["other"]["torch_rng"])
    if learner.device.type == "cuda" and "cuda_rng" in parts["other"]:
        torch.cuda.set_rng_state(parts["other"]["cuda_rng"], learner.device)
    return learner


def _rng_of(device: torch.device) -> dict[str, Tensor]:
    """The generator of a GPU, from which dropout draws there."""
    return {"cuda_rng": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}


def _fields(kind: type[Life] | type[Recovery], values: dict[str, Any]) -> dict[str, Any]:
    """Those that this learndrop knows; a newer one of the same format may have written more."""
    return {name: value for name, value in values.items() if name in kind.__dataclass_fields__}
