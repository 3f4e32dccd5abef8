"""Work on a GPU that is recorded once and then replayed: one launch for hundreds of kernels.

With batches of an online learner a GPU waits for Python, not Python for the GPU. A CUDA graph holds
the kernels of one piece of work with their addresses and shapes, so it serves one shape of its
arguments, and only while every other tensor that the work touches stays where it is.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Work = Callable[..., Sequence[Tensor]]

AFTER = 3  # times that a shape comes before it is recorded: kernels are chosen and loaded by then
MOST = 4  # recorded shapes at once; each holds memory of its own
SHAPES_SEEN = 64  # shapes that are counted; an odd one more starts the count anew


class _Recording:
    """One shape's graph, the tensors that it reads and those that it writes."""

    def __init__(self, work: Work, given: Sequence[Tensor], device: torch.device) -> None:
        self._given = [t.clone() for t in given]
        self._graph = torch.cuda.CUDAGraph()
        here = torch.cuda.current_stream(device)
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's has no types
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            # not `torch.cuda.graph`: it empties the allocator's cache, which stalls what follows
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._gives = list(work(*self._given))
            finally:
                self._graph.capture_end()
        here.wait_stream(aside)

    def replay(self, given: Sequence[Tensor]) -> list[Tensor]:
        for mine, tensor in zip(self._given, given, strict=True):
            mine.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._gives


class Graphs:
    """Does a piece of work, from recordings where there is a GPU and the shape comes often.

    Args:
        work: takes tensors and gives tensors. It reads nothing back from the device, and whatever
            it writes to beside what it gives stays where it is until `forget`.
        device: where it is done.
        wanted: False always does the work itself.
    """

    def __init__(self, work: Work, device: torch.device, *, wanted: bool) -> None:
        self._work, self._device = work, device
        self._wanted = wanted and device.type == "cuda"
        self._held: dict[Hashable, _Recording] = {}
        self._seen: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        """Shapes that are recorded."""
        return len(self._held)

    def __call__(self, *given: Tensor, mode: Hashable = None) -> Sequence[Tensor]:
        """Do the work; what it gives is overwritten by the next call.

        Args:
            given: what the work takes.
            mode: whatever else the work hangs on: each has recordings of its own.
        """
        if not self._wanted:
            return self._work(*given)
        key = (mode, *((t.shape, t.stride(), t.dtype) for t in given))
        held = self._held.get(key) or self._recorded(key, given)
        return self._work(*given) if held is None else held.replay(given)

    def forget(self) -> None:
        """Something that the work touches is another tensor now."""
        self._held.clear()
        self._seen.clear()

    def _recorded(self, key: Hashable, given: Sequence[Tensor]) -> _Recording | None:
        """A recording of that shape, if it is worth one."""
        if len(self._seen) >= SHAPES_SEEN:
            self._seen.clear()
        self._seen[key] += 1
        if self._seen[key] <= AFTER or len(self._held) >= MOST:
            return None
        draws = torch.cuda.default_generators[torch.cuda.current_device()]
        before = draws.clone_state()
        try:
            self._held[key] = _Recording(self._work, given, self._device)
        except RuntimeError as exc:  # a layer that reads back from the device, mostly
            draws.graphsafe_set_state(before)  # it still counts for the recording otherwise
            told = str(exc).partition("\n")[0]
            log.warning("CUDA graphs are given up, steps are run as they are: %s", told)
            self._wanted = False
            self.forget()
            return None
        return self._held[key]
