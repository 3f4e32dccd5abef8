"""Checkpoints as files: a folder each, whole or not there, with what tells a damaged one.

A checkpoint is a folder of two files: `tensors.safetensors` and `state.json`, which names the
size and SHA-256 of the first and of itself. It is written aside and renamed, so that a reader finds
a whole one or none. No pickle.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors.torch import load
from torch import Tensor

from learndrop.disk.files import (
    ASIDE,
    make_folder,
    remove_folder,
    rename_folder,
    sync_folder,
    write_new,
    write_pieces,
)
from learndrop.disk.tensor_file import Digest, pieces
from learndrop.errors import DamagedFile, NotLeading, UnknownFileFormat

FORMAT = 1

log = logging.getLogger(__name__)


def write(
    root: Path,
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    keep: int,
    sealing: AbstractContextManager[object] | None = None,
) -> Path:
    """Write one more checkpoint; older ones beyond `keep` go.

    Args:
        root: folder of checkpoints.
        state: JSON values; format, number and the tensors' digest are added.
        tensors: by name.
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
    told = {"format": FORMAT, "number": number, **state}
    folder = root / f"{number:08d}"
    aside = _aside(folder)
    try:
        aside.mkdir()
        digest = Digest()
        write_pieces(aside / "tensors.safetensors", digest.passed(pieces(tensors)))
        told["tensors"] = {"bytes": digest.bytes, "sha256": digest.sha256}
        write_new(aside / "state.json", sealed(told))
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


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and p.name.isdigit())


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{ASIDE}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:  # not there, or on a bad block
        raise DamagedFile(f"{path} cannot be read: {exc}") from exc


def sealed(state: Mapping[str, Any]) -> bytes:
    """The state as bytes that begin with their own SHA-256."""
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
