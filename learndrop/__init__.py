"""learndrop: an image classifier that keeps learning while its learned layers leave training.

`learndrop.Learner` is imported when it is asked for, so that the client starts without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learndrop.library import Learner as Learner

__all__ = ["Learner"]


def __getattr__(name: str) -> Any:
    if name == "Learner":
        return import_module("learndrop.library").Learner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
