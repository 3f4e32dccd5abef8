"""Every knob of learndrop, with default, unit and meaning; the only reader of the environment.

A setting `x_y` is read from LEARNDROP_X_Y. Sizes end in `_bytes`, durations in `_s`. A new one goes
into the file of its group here, into the README's table and into docker-compose.yml.
"""

from learndrop.settings.explaining import explained
from learndrop.settings.reading import load_settings, no_setting, unknown_variables
from learndrop.settings.service import RATE
from learndrop.settings.whole import Settings, is_loopback

__all__ = [
    "RATE",
    "Settings",
    "explained",
    "is_loopback",
    "load_settings",
    "no_setting",
    "unknown_variables",
]
