"""docs/library.md: what it shows works, block after block, as one script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from deploy.children import ROOT

PAGE = (ROOT / "docs" / "library.md").read_text()


def test_the_blocks_of_the_page_are_one_script_that_works(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) >= 4
    rng = np.random.default_rng(0)
    for name, shade in (("cat", 40), ("dog", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(16):
            pixels = np.clip(rng.normal(shade, 20, (36, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    bare = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**bare, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "units=[...] by hand" in done.stdout
    assert (tmp_path / "pets.safetensors").stat().st_size > 10**6


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if not target.startswith("https://"):
            assert (ROOT / "docs" / target.partition("#")[0]).exists(), target
