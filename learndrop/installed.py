"""Files of installed packages by their place: importing some packages takes seconds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def file_of(package: str, *parts: str) -> Path | None:
    """A file in a package that stands at the top, which is not imported; None if it is not there.

    >>> file_of("learndrop", "installed.py").name
    'installed.py'
    >>> file_of("learndrop", "nowhere.py")
    """
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (file := Path(folder, *parts)).is_file():
            return file
    return None
