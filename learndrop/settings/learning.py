"""Settings of learning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from learndrop.settings.group import MIB, Group


class LearningSettings(Group):
    """The optimizer, replay, the arithmetic of a step."""

    rate: float = Field(0.0, ge=0, le=10)
    """Learning rate right after the start and after a drift; 0 goes by the first weights: 0.005
    where some are given, 0.05 where they are random, 0.01 without BatchNorm then."""
    rate_floor: float = Field(0.1, gt=0, le=1)
    """Share of `rate` that it falls to while the world stays as it is."""
    rate_halving: int = Field(2000, ge=1)
    """Samples after which the rate is half of `rate`."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(5e-4, ge=0, le=1)
    """Weight decay of SGD, for units in training."""
    clip_norm: float = Field(5.0, gt=0)
    """Gradients are scaled down to this global norm."""
    loss_limit: float = Field(30.0, gt=0)
    """A step with a larger mean cross-entropy is not taken; three of eight are an explosion."""
    compile: bool = False
    """Compile what is in training with torch.compile, anew for each cut (seconds, for each)."""
    cuda_graphs: bool = True
    """On a GPU, record a step once for each cut and replay it: one launch for hundreds."""
    replays: Literal["auto", "0", "1", "2", "3", "5", "7"] = "auto"
    """Replayed samples for each arriving one; `auto` replays in ordered or young worlds."""
    budget: Literal["seconds", "replays", "arrivals"] = "seconds"
    """What dropping saves is saved; or spent on replays (at most 7 a sample, up to full training's
    FLOPs; only where `replays` is `auto`); or on `arrivals`: who falls behind trains the last units
    alone until it has caught up (then what is learned hangs on the clock too)."""
    hurry_waiting: int = Field(128, ge=1)
    """Waiting samples from which on a step trains the last units alone, with that budget."""
    replay_samples: int = Field(4096, ge=1, le=10_000_000)
    """Most raw samples in the replay buffer."""
    replay_bytes: int = Field(64 * MIB, ge=1)
    """Most bytes of raw pixels in the replay buffer."""
    replay_max_age_s: float = Field(0.0, ge=0)
    """Longest time that a raw sample stays in replay buffer and archive; 0 sets no age."""
    erase_within_s: float = Field(600.0, ge=10)
    """Time after a deletion (or the age above) within which no checkpoint holds the image."""
    old_world_weight: float = Field(0.1, ge=0, le=1)
    """Chance, against 1, that a sample from before the last drift is replayed."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of a training step; `auto` measures both at start."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Layout of images and weights; `auto` measures both at start."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA when there is one."""
    seed: int = 0
    """Seed of weights, replay and probes."""
