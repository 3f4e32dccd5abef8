"""All settings as one frozen object, and what they must be together."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import model_validator

from learndrop.settings.belief import BeliefSettings
from learndrop.settings.dropping import DroppingSettings
from learndrop.settings.features import FeatureSettings
from learndrop.settings.group import MIB
from learndrop.settings.learning import LearningSettings
from learndrop.settings.logs import LogSettings
from learndrop.settings.network import NetworkSettings
from learndrop.settings.places import Places
from learndrop.settings.service import ServiceSettings
from learndrop.settings.stream import StreamSettings
from learndrop.settings.worker import WorkerSettings


class Settings(  # pydantic takes fields from the last base on: tables begin with the places
    LogSettings,
    BeliefSettings,
    DroppingSettings,
    FeatureSettings,
    LearningSettings,
    NetworkSettings,
    WorkerSettings,
    StreamSettings,
    ServiceSettings,
    Places,
):
    """One frozen object that wires a process; nothing below `__main__` reads the environment."""

    @property
    def keys_path(self) -> Path:
        """The file of API keys; it need not exist."""
        return Path(self.keys_file) if self.keys_file else self.data_dir / "keys.json"

    @property
    def decoder_memory_bytes(self) -> int:
        """What one process that decodes picture files may take."""
        most = 128 * MIB + 4 * self.max_image_bytes + 32 * self.max_image_pixels
        return self.decoder_bytes or most

    @property
    def window_samples(self) -> int:
        """Samples of a whole window."""
        return self.window * self.batch

    @property
    def loopback(self) -> bool:
        """Whether the service binds to an address that only this machine reaches."""
        return is_loopback(self.host)

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of the worker's checkpoints."""
        return self.data_dir / "checkpoints"

    @property
    def archive_dir(self) -> Path:
        """Folder of learned samples that can be played again."""
        return self.data_dir / "archive"

    @property
    def models_dir(self) -> Path:
        """Folder of the published model versions: the worker writes it, the service reads it."""
        return self.data_dir / "models"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.host not in {"127.0.0.1", "localhost", "::1"} and self.port == self.metrics_port:
            raise ValueError(f"port and metrics_port are both {self.port}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a label twice")
        if len(self.classes) > self.max_classes:
            raise ValueError(f"{len(self.classes)} classes, max_classes is {self.max_classes}")
        if min(self.pixel_std) <= 0:
            raise ValueError("pixel_std must be above 0")
        return self


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
