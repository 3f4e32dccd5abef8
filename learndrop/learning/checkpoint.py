"""The whole state of learning to a file and back, the stream position inside it.

The files are `learndrop.disk.checkpoint_files`, what is in them is `learner_state`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from learndrop.disk import checkpoint_files
from learndrop.errors import BadSettings
from learndrop.learning.learner import Learner
from learndrop.learning.learner_state import restored, tensors_of, values_of
from learndrop.networks.chain import Chain
from learndrop.settings import Settings

SAME = ("network", "image_size", "pixel_mean", "pixel_std", "fit")  # or the weights mean nothing


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
    same = {key: _plain(getattr(learner.settings, key)) for key in SAME}
    state = {"position": position, "same": same, "learner": values_of(learner)}
    return checkpoint_files.write(root, state, tensors_of(learner), keep, sealing)


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
    found = checkpoint_files.newest_whole(root)
    if found is None:
        return None
    folder, state, tensors = found
    for key, value in state["same"].items():
        if _plain(getattr(settings, key)) != value:
            raise BadSettings(
                f"{folder} was learned with {key} {value!r}, the setting says"
                f" {_plain(getattr(settings, key))!r}: keep it, or take another data_dir"
            )
    return restored(settings, state["learner"], tensors, chain), str(state["position"])


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
