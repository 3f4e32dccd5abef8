"""`python -m tests.soak.leaky_worker`: the worker, and 1 KB kept at every step; row 16 finds it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from learndrop.learning.learner import Learner
from learndrop.stream.messages import Sample
from worker import __main__ as worker

LEAK_BYTES = 1024

_kept: list[bytes] = []
_learn = Learner.learn


def _learn_and_leak(self: Learner, samples: Sequence[Sample], **options: Any) -> Any:
    _kept.append(os.urandom(LEAK_BYTES))
    return _learn(self, samples, **options)


if __name__ == "__main__":
    # the worker as it is but for this method
    Learner.learn = _learn_and_leak  # type: ignore[method-assign]
    sys.exit(worker.main())
