"""One worker a data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from learndrop.errors import DidNotStart
from worker.lock import only_worker


def test_a_second_worker_on_the_folder_is_told_whose_it_is(tmp_path: Path) -> None:
    with only_worker(tmp_path / "data"):
        with pytest.raises(DidNotStart, match=f"process {os.getpid()}"):
            with only_worker(tmp_path / "data"):
                pass
    with only_worker(tmp_path / "data"):
        pass


def test_a_killed_worker_leaves_the_folder_free(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from worker.lock import only_worker\n"
    code += "with only_worker(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -9
    with only_worker(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DidNotStart, match="file"), only_worker(tmp_path / "file"):
        pass
