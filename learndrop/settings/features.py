"""Settings of stored feature maps."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from learndrop.settings.group import MIB, Group

CodecName = Literal["bf16", "int8", "klt"]
"""What each is: learndrop/features/codecs.py, which a test holds this to."""
CODEC_NAMES: tuple[CodecName, ...] = get_args(CodecName)


class FeatureSettings(Group):
    """Where stored maps lie, how they are packed, and what is done with them."""

    feature_bytes: int = Field(128 * MIB, ge=0)
    """Memory for stored feature maps, on the device that trains; never passed."""
    feature_host_bytes: int = Field(0, ge=0)
    """Memory of the host for more of them, where a GPU trains; never passed."""
    feature_file_bytes: int = Field(0, ge=0)
    """Disk in `data_dir` for still more of them, in files without a name; never passed."""
    feature_codec: Literal["smallest", "auto", CodecName] = "smallest"
    """How stored maps are packed: by the codec named, or by the `smallest` from whose maps arrivals
    are answered as well, in no more than twice the pixels' bytes (else nothing is stored); `auto`
    also stores nothing where making maps anew is faster (then what is learned hangs on the clock
    too)."""
    feature_mixup: float = Field(0.0, ge=0, le=10)
    """Mixes replayed maps by shares of a beta distribution with this parameter; 0 mixes none."""
    feature_refresh: float = Field(0.1, ge=0, le=1)
    """Share of stored maps made anew from another view, where replayed pictures are moved."""
    replay_augment: bool = False
    """Moves and mirrors replayed pictures before maps are made of them."""
