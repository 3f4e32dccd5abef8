"""The whole state of learning to bytes and back, the stream position inside it.

A checkpoint is a folder of two files: `tensors.safetensors` and `state.json`, which names the
size and SHA-256 of the first and of itself. It is written aside and renamed, so that a reader finds
a whole one or none. Optimizer state goes by parameter name, so a checkpoint made after a drop or a
reset resumes bit for bit. No pickle.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from safetensors.torch import load
from torch import Tensor

from learndrop.candidate import Candidate
from learndrop.chain import Chain
from learndrop.errors import BadSettings, DamagedFile, NotLeading, UnknownFileFormat
from learndrop.events import Event
from learndrop.files import (
    ASIDE,
    make_folder,
    remove_folder,
    rename_folder,
    sync_folder,
    write_new,
    write_pieces,
)
from learndrop.learner import Learner
from learndrop.life import Life, Recovery
from learndrop.precision import Choice
from learndrop.settings import Settings
from learndrop.spec import NetworkSpec
from learndrop.tensor_file import Digest, pieces

FORMAT = 1
SAME = ("network", "image_size", "pixel_mean", "pixel_std", "fit")  # or the weights mean nothing

log = logging.getLogger(__name__)


def save(
    learner: Learner,
    root: Path,
    position: str,
    keep: int,
    *,
    sealing: AbstractContextManager[object] | None = None,
) -> Path:
    """Write the learner's whole state; older checkpoints beyond `keep` go.

    Args:
        learner: whose state.
        root: folder of checkpoints.
        position: id of the last stream entry that this state has learned.
        keep: checkpoints to keep.
        sealing: entered around the rename by which the checkpoint begins to count.

    Returns:
        the new checkpoint's folder.

    Raises:
        OSError: if the disk refuses; the older checkpoints are as they were.
    """
    make_folder(root)
    with suppress(OSError):  # what cannot be removed stops nothing
        for left in root.glob(f".*{ASIDE}"):  # half written, or half removed, by who died
            remove_folder(left)
    number = max((int(p.name) for p in _folders(root)), default=0) + 1
    state: dict[str, Any] = {
        "format": FORMAT,
        "number": number,
        "position": position,
        "same": {k: _plain(getattr(learner.settings, k)) for k in SAME},
        "learner": _values(learner),
    }
    folder = root / f"{number:08d}"
    aside = _aside(folder)
    try:
        aside.mkdir()
        digest = Digest()
        write_pieces(aside / "tensors.safetensors", digest.passed(pieces(_tensors(learner))))
        state["tensors"] = {"bytes": digest.bytes, "sha256": digest.sha256}
        write_new(aside / "state.json", _sealed(state))
        sync_folder(aside)
        with sealing or nullcontext():
            rename_folder(aside, folder)
    except (OSError, NotLeading):
        with suppress(OSError):  # a full disk should not keep what was written in vain
            remove_folder(aside)
        raise
    with suppress(OSError):  # the new one is there; the next save tries again
        for old in _folders(root)[:-keep]:
            remove(old)
    return folder


def newest(root: Path) -> Path | None:
    """The newest checkpoint's folder, whole or not; None where there is none."""
    return _folders(root)[-1] if root.is_dir() and _folders(root) else None


def position_of(folder: Path) -> str | None:
    """Where in the stream a checkpoint ends, without its tensors; None if it cannot be read."""
    try:
        return str(_unsealed(folder / "state.json")["position"])
    except (DamagedFile, OSError, KeyError):
        return None


def load_latest(
    root: Path, settings: Settings, chain: Chain | None = None
) -> tuple[Learner, str] | None:
    """Bring back the newest checkpoint that is whole; a damaged one is named and passed over.

    Args:
        root: folder of checkpoints.
        settings: as those that it was made with.
        chain: the network, cut, where it is none that the settings can name.

    Returns:
        the learner and its position in the stream, or None where there is no checkpoint.

    Raises:
        UnknownFileFormat: if the newest was written by a newer learndrop.
        DamagedFile: if there are checkpoints and none is whole.
        BadSettings: if the settings name another network than the checkpoint holds.
    """
    found = newest_whole(root)
    if found is None:
        return None
    folder, state, tensors = found
    for key, value in state["same"].items():
        if _plain(getattr(settings, key)) != value:
            raise BadSettings(
                f"{folder} was learned with {key} {value!r}, the setting says"
                f" {_plain(getattr(settings, key))!r}: keep it, or take another data_dir"
            )
    return _restore(settings, state["learner"], tensors, chain), str(state["position"])


def newest_whole(root: Path) -> tuple[Path, dict[str, Any], dict[str, Tensor]] | None:
    """Folder, state and tensors of the newest checkpoint that is whole; None where there is none.

    Raises:
        UnknownFileFormat: if the newest was written by a newer learndrop.
        DamagedFile: if there are checkpoints and none is whole.
    """
    folders = _folders(root) if root.is_dir() else []
    for folder in reversed(folders):
        try:
            return folder, *read_checkpoint(folder)
        except UnknownFileFormat:
            raise
        except DamagedFile as exc:
            log.error("checkpoint passed over: %s", exc)
    if folders:
        raise DamagedFile(f"none of {len(folders)} checkpoints in {root} is whole")
    return None


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read one checkpoint, sizes and hashes checked.

    Raises:
        DamagedFile: naming the file.
        UnknownFileFormat: if it is of a newer format.
    """
    state = _unsealed(folder / "state.json")
    if state["format"] > FORMAT:
        raise UnknownFileFormat(
            f"{folder} has format {state['format']}, this learndrop reads up to {FORMAT}"
        )
    if state.get("number", int(folder.name)) != int(folder.name):  # it would learn samples again
        raise DamagedFile(f"{folder / 'state.json'} is that of checkpoint {state['number']}")
    path = folder / "tensors.safetensors"
    blob = _bytes(path)
    said = state["tensors"]
    if len(blob) != said["bytes"] or hashlib.sha256(blob).hexdigest() != said["sha256"]:
        raise DamagedFile(f"{path}: not the {said['bytes']} bytes that were written")
    return state, load(blob)


def remove(folder: Path) -> None:
    """Remove one checkpoint: out of sight first, for half removed it would look like a damaged one.

    Raises:
        OSError: if the disk refuses.
    """
    rename_folder(folder, _aside(folder))
    remove_folder(_aside(folder))


# -- what a learner is made of --------------------------------------------------------------


def _tensors(learner: Learner) -> dict[str, Tensor]:
    parts: dict[str, Mapping[str, Tensor]] = {
        "weights": learner.chain.state_dict(),
        "momentum": learner.trainer.momentum(),
        "averages": learner.trainer.averages.tensors(),
        "settling": learner.settling.tensors(),
        "guard": learner.guard.tensors(),
        "rehearsal": learner.rehearsal.tensors(),
        "belief": learner.belief.tensors(),
        "earlier": learner.earlier.tensors(),
        "candidate": learner.candidate.tensors() if learner.candidate else {},
        "other": {
            "long_run": torch.from_numpy(learner.labels.long_run),
            "torch_rng": torch.get_rng_state(),
        },
    }
    return {
        f"{part}/{name}": tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def _values(learner: Learner) -> dict[str, Any]:
    return {
        "classes": learner.classes,
        "recent_labels": list(learner.labels.recent),
        "cut": learner.trainer.cut,
        "averages": learner.trainer.averages.to_json(),
        "life": asdict(learner.life),
        "recovery": asdict(learner.recovery) if learner.recovery else None,
        "returned": sorted(learner.returned),
        "events": [e.to_json() for e in learner.recent_events],
        "progress": learner.progress.to_json(),
        "watch": learner.watch.to_json(),
        "settling": learner.settling.to_json(),
        "guard": learner.guard.to_json(),
        "rehearsal": learner.rehearsal.to_json(),
        "ledger": learner.ledger.to_json(),
        "precision": learner.precision.to_json(),
        "belief": learner.belief.to_json(),
        "earlier": learner.earlier.to_json(),
        "candidate": learner.candidate.to_json() if learner.candidate else None,
    }


def _restore(
    settings: Settings, values: dict[str, Any], tensors: dict[str, Tensor], chain: Chain | None
) -> Learner:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    # the classes as they had grown; first weights are not needed, all come from the checkpoint
    known = settings.model_copy(update={"classes": tuple(values["classes"]), "weights": ""})
    if chain is not None:
        chain.grow(max(chain.classes, len(values["classes"])))
    learner = Learner(known, precision=Choice.from_json(values["precision"]), chain=chain)
    learner.settings, learner.spec = settings, NetworkSpec.from_settings(settings)
    learner.chain.load_state_dict(parts["weights"])
    learner.trainer.load_momentum(parts.get("momentum", {}), values["cut"])
    if "averages" in values:  # younger than the format, as all that is asked for so
        learner.trainer.averages.load(parts.get("averages", {}), values["averages"])
    learner.labels.load(values["recent_labels"], parts["other"]["long_run"].numpy())
    learner.life = Life(**_fields(Life, values["life"]))
    learner.recovery = (
        Recovery(**_fields(Recovery, values["recovery"])) if values["recovery"] else None
    )
    learner.returned = set(values["returned"])
    learner.recent_events = deque(
        (Event.from_json(e) for e in values["events"]), maxlen=settings.events_kept
    )
    learner.progress.load_json(values["progress"])
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
    torch.set_rng_state(parts["other"]["torch_rng"])
    return learner


# -- files ----------------------------------------------------------------------------------


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and p.name.isdigit())


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{ASIDE}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:  # not there, or on a bad block
        raise DamagedFile(f"{path} cannot be read: {exc}") from exc


def _sealed(state: dict[str, Any]) -> bytes:
    body = orjson.dumps(_finite(state), option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unsealed(path: Path) -> dict[str, Any]:
    seal, _, body = _bytes(path).partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise DamagedFile(f"{path}: does not match its checksum")
    state = orjson.loads(body)
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise DamagedFile(f"{path}: holds no state")
    return state


def _fields(kind: type[Life] | type[Recovery], values: dict[str, Any]) -> dict[str, Any]:
    """Those that this learndrop knows; a newer one of the same format may have written more."""
    return {name: value for name, value in values.items() if name in kind.__dataclass_fields__}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _finite(value: Any) -> Any:
    """JSON has no NaN: it is written as null where a value may be one."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, np.generic):
        return value.item()
    return value
