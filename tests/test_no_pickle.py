"""The guard of conftest.py, under which all tests run, would notice a pickle that is read."""

from __future__ import annotations

import collections
import pickle
from typing import Any

import pytest

from tests.conftest import ROOT, Unpickled

HARMLESS = pickle.dumps(collections.OrderedDict(a=1))


def load(file: str) -> Any:
    """Unpickle in a function that seems to stand in that file."""
    names: dict[str, Any] = {}
    exec(compile("import pickle\ndef load(data): return pickle.loads(data)", file, "exec"), names)
    return names["load"](HARMLESS)


@pytest.mark.parametrize("folder", ["learndrop", "service/routes", "worker"])
def test_a_pickle_that_our_code_reads_fails_the_test(folder: str) -> None:
    with pytest.raises(BaseException) as caught:
        load(str(ROOT / folder / "new.py"))
    assert type(caught.value).__name__ == Unpickled.__name__


def test_what_others_do_with_theirs_is_not_our_matter() -> None:
    assert load("/somewhere/library.py") == {"a": 1}
