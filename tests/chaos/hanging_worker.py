"""`python -m tests.chaos.hanging_worker`: the worker, whose next step hangs once a file is there.

The file is `hang` in the data folder; the step that finds it takes it away and never ends.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from learndrop.learning.learner import Learner
from learndrop.stream.messages import Sample
from worker import __main__ as worker

_learn = Learner.learn


def _hang_or_learn(self: Learner, samples: Sequence[Sample], **options: Any) -> Any:
    sign = self.settings.data_dir / "hang"
    if sign.exists():
        sign.unlink()
        threading.Event().wait()
    return _learn(self, samples, **options)


if __name__ == "__main__":
    # the worker as it is but for this method
    Learner.learn = _hang_or_learn  # type: ignore[method-assign]
    sys.exit(worker.main())
