"""What all groups of settings share: the environment, and that nothing changes them."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class Group(BaseSettings):
    """A part of the settings; `learndrop.settings.whole.Settings` puts the parts together."""

    model_config = SettingsConfigDict(
        env_prefix="LEARNDROP_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )
