"""Entries that were in hand when a worker died: which of them kills workers, and which did not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


class Suspects:
    """What is suspected, with the number of deaths, until it is learned or buried.

    Args:
        most: deaths (`max_deliveries`) after which an entry that was in hand alone is guilty.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._deaths: dict[str, int] = {}

    def judged(
        self, deaths: Mapping[str, int], alone: Collection[str]
    ) -> Iterator[tuple[str, int]]:
        """Suspect all of them but the guilty, which are given with their deaths.

        Args:
            deaths: of each entry that was in hand at one.
            alone: those that were in hand alone once.

        >>> suspects = Suspects(2)
        >>> list(suspects.judged({"1-0": 2, "2-0": 2, "3-0": 1}, alone={"1-0"}))
        [('1-0', 2)]
        >>> suspects.alone("2-0"), suspects.alone("1-0")
        (True, False)
        """
        for entry_id, times in deaths.items():
            if times >= self._most and entry_id in alone:
                yield entry_id, times
            else:
                self._deaths[entry_id] = times

    def alone(self, entry_id: str) -> bool:
        """Whether it must be learned alone, so that one more death tells."""
        return self._deaths.get(entry_id, 0) >= max(1, self._most - 1)

    def cleared(self, ids: Iterable[str]) -> list[str]:
        """Those of them that were suspected; they are not any more.

        Whoever kills the worker kills it each time: one batch lived through clears all in it.
        """
        return [i for i in ids if self._deaths.pop(i, 0)]


def deaths_from(told: Sequence[bytes]) -> tuple[dict[str, int], set[str]]:
    """Read the answer to BLAME: deaths of each entry, and those that were in hand alone.

    >>> deaths_from([b"1-0", b"2", b"1-0:alone", b"1"])
    ({'1-0': 2}, {'1-0'})
    """
    fields = {name.decode(): number for name, number in zip(told[::2], told[1::2], strict=True)}
    deaths = {name: int(n) for name, n in fields.items() if not name.endswith(":alone")}
    return deaths, {name.removesuffix(":alone") for name in fields.keys() - deaths.keys()}
