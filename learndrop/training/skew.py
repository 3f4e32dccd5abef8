"""Where few classes arrive: how often a batch holds each class, so that the loss can allow for it.

A network trained on batches of mostly one class learns that most pictures are of it. With the
logarithm of each class's share added to its logit in training only, the loss asks for answers that
fit evenly mixed pictures (logit adjustment, Menon and others 2020, arXiv 2007.07314; balanced
softmax, Ren and others 2020, arXiv 2007.10740).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ABSENT = 1e-3  # samples that a class counts for which the batch cannot hold: its logit rests


def log_shares(
    arriving: NDArray[np.int64], replayed: int, known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Logarithm of the share of each class [classes] among a batch.

    Args:
        arriving: class indices of the samples that arrive [N].
        replayed: samples that go with them, drawn evenly from the known classes: so these count
            by what is to be expected of the draw, not by what one draw gave.
        known: which classes have samples to replay [classes].

    >>> logs = log_shares(np.array([0, 0, 0]), 3, np.array([True, True, True]))
    >>> [round(float(np.exp(share)), 2) for share in logs]
    [0.67, 0.17, 0.17]
    """
    counts = np.bincount(arriving, minlength=len(known)).astype(np.float64)
    counts += replayed * known / max(1, int(known.sum()))
    counts += ABSENT
    return np.asarray(np.log(counts / counts.sum()), np.float32)
