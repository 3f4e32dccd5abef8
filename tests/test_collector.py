"""A full collection in a process that works is short, however much was imported before."""

from __future__ import annotations

import subprocess
import sys

from deploy.children import ROOT

SCRIPT = """
import gc, time, torch
from learndrop.collector import spare_what_is_there

def collected_s():
    began = time.process_time()
    gc.collect()
    return time.process_time() - began

before_s = collected_s()
spare_what_is_there()
assert gc.get_freeze_count() > 50_000
print(before_s / min(collected_s() for _ in range(3)))
garbage = []
garbage.append(garbage)
del garbage
assert gc.collect() >= 1, "what comes later is collected"
"""


def test_what_was_there_before_is_not_looked_through() -> None:
    told = subprocess.check_output([sys.executable, "-c", SCRIPT], cwd=ROOT, text=True)
    assert float(told) > 10
