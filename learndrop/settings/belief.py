"""Settings that say whom to believe."""

from __future__ import annotations

from pydantic import Field

from learndrop.settings.group import Group


class BeliefSettings(Group):
    """Keys that send together, versions that answer worse."""

    max_key_share: float = Field(0.9, gt=0, le=1)
    """Most of a batch that is trained on for one API key while several send; 1 is no bound."""
    quarantine_share: float = Field(0.1, ge=0, le=1)
    """Of keys whose labels are not believed, so much of what others send is trained on."""
    reserve_samples: int = Field(256, ge=0, le=100_000)
    """Older samples on which a version is measured before it is published; 0 measures none."""
    rollback_fall: float = Field(0.1, gt=0, le=1)
    """A fall of the accuracy on the reserve by more than this brings the last good version back."""
    rollback_cooldown: int = Field(2048, ge=0)
    """Samples after a return to an earlier version in which there is no second one."""
