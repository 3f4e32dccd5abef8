"""The encoded maps of one cut, by sample id, in pages that tiers gave."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.features.codecs import Codec
from learndrop.features.tiers import Tier
from learndrop.networks.transfer import to_device

MOST_OF_FILES = 256 * 2**20  # bytes of maps in files that a checkpoint takes along
PAGES = 16  # pages of a full store: few enough to read a batch from, enough to give back in parts


class Key(NamedTuple):
    """What a map was made by: another cut, other weights or another codec is another map."""

    cut: int
    prefix_hash: str
    codec: str


@dataclass
class _Page:
    data: Tensor
    tier: Tier


class StoredMaps:
    """Rows of one key; a place is a page's number times `page_rows` and the row in it.

    Args:
        key: what all rows were made by.
        codec: makes rows of maps.
        wanted: rows beyond this number are of no use.
        tiers: in the order in which they are filled.
        page_rows: rows of a whole page; counted out when not given.
    """

    def __init__(
        self,
        key: Key,
        codec: Codec,
        wanted: int,
        tiers: Sequence[Tier],
        *,
        page_rows: int | None = None,
    ) -> None:
        self.key, self.codec, self._tiers = key, codec, tiers
        room = sum(t.max_bytes // codec.row_bytes for t in tiers if not t.trouble)
        self.capacity = min(wanted, room)
        self.page_rows = page_rows or max(1, math.ceil(self.capacity / PAGES))
        self._pages: list[_Page | None] = []
        self._ids = np.zeros(0, np.int64)  # by place; -1 where nothing lies
        self._place: OrderedDict[int, int] = OrderedDict()  # oldest first
        self._free: list[int] = []  # a heap: the lowest place first

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, sample_id: int) -> bool:
        return sample_id in self._place

    @property
    def nbytes(self) -> int:
        """Bytes of the maps held now."""
        return len(self._place) * self.codec.row_bytes

    @property
    def ids(self) -> NDArray[np.int64]:
        """Sample ids [N] of the maps held, the oldest first."""
        return np.fromiter(self._place, np.int64, len(self._place))

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the ids [N] have a map here."""
        return np.array([i in self._place for i in ids.tolist()], np.bool_)

    def place_for(self, sample_id: int) -> bool:
        """Whether there is a place for a sample's map: its own, a free one, or a new page's."""
        if sample_id in self._place:
            return True
        if not self._free and not self._grow():
            return False
        place = heapq.heappop(self._free)
        self._ids[place] = sample_id
        self._place[sample_id] = place
        return True

    def write(self, ids: Sequence[int], rows: Tensor) -> None:
        """Write rows uint8 [N, row_bytes] of samples that have a place."""
        order, parts = self._by_page(ids)
        rows = rows[to_device(order, rows.device)]
        for page, lying, mine in parts:
            page.data[lying] = rows[mine].to(page.data.device)

    def read(self, ids: Sequence[int], device: torch.device) -> Tensor:
        """Rows uint8 [N, row_bytes] of samples that are held, on the device."""
        order, parts = self._by_page(ids)
        found = [page.data[lying].to(device) for page, lying, _ in parts]
        rows = torch.empty((len(ids), self.codec.row_bytes), dtype=torch.uint8, device=device)
        if found:
            rows[to_device(order, device)] = torch.cat(found)
        return rows

    def forget(self, ids: Iterable[int]) -> int:
        """Blank the maps of these samples; how many there were."""
        gone = [i for i in ids if i in self._place]
        for sample_id in gone:
            place = self._drop(sample_id)
            self._page(place // self.page_rows).data[place % self.page_rows] = 0
        return len(gone)

    def drop_oldest(self) -> None:
        """Let the map that was stored first give way."""
        self._drop(next(iter(self._place)))

    def drop_all_but(self, useful: NDArray[np.int64]) -> int:
        """Blank all maps but those of the useful samples; how many there were."""
        ids = self.ids
        return self.forget(ids[~np.isin(ids, useful)].tolist())

    def drop_page(self) -> bool:
        """Give the first page back with all that lies on it; False where there is none."""
        number = next((n for n, page in enumerate(self._pages) if page is not None), None)
        if number is None:
            return False
        first = number * self.page_rows
        on_it = range(first, first + self.page_rows)
        for sample_id in self._ids[first : on_it.stop].tolist():
            if sample_id != -1:
                self._drop(sample_id)
        self._free = [p for p in self._free if p not in on_it]
        heapq.heapify(self._free)
        page = self._page(number)
        self._pages[number] = None
        page.tier.give_back(page.data)
        return True

    def first_on_page(self) -> list[int]:
        """Sample ids on the page that `drop_page` would give back."""
        number = next((n for n, page in enumerate(self._pages) if page is not None), None)
        if number is None:
            return []
        ids = self._ids[number * self.page_rows :][: self.page_rows]
        return [int(i) for i in ids if i != -1]

    def close(self) -> None:
        """Give every page back."""
        while self.drop_page():
            pass

    def _grow(self) -> bool:
        """Take one more page, if the capacity and a tier allow it."""
        have = sum(len(page.data) for page in self._pages if page is not None)
        rows = min(self.page_rows, self.capacity - have)
        if rows < 1:
            return False
        for tier in self._tiers:
            data = tier.page(rows, self.codec.row_bytes)
            if data is not None:
                self._add(_Page(data, tier))
                return True
        return False

    def _add(self, page: _Page | None) -> None:
        first = len(self._pages) * self.page_rows
        self._pages.append(page)
        self._ids = np.concatenate([self._ids, np.full(self.page_rows, -1, np.int64)])
        if page is not None:
            for row in range(len(page.data)):
                heapq.heappush(self._free, first + row)

    def _drop(self, sample_id: int) -> int:
        place = self._place.pop(sample_id)
        self._ids[place] = -1
        heapq.heappush(self._free, place)
        return place

    def _page(self, number: int) -> _Page:
        page = self._pages[number]
        assert page is not None  # a page that was given back holds no sample's place
        return page

    def _by_page(
        self, ids: Sequence[int]
    ) -> tuple[NDArray[np.int64], list[tuple[_Page, Tensor, slice]]]:
        """The order that puts ids of one page together; and for each page, the rows there and
        which part of that order they are. All rows go to a device at once: a copy for each page
        would be most of what reading costs on a GPU."""
        places = np.array([self._place[i] for i in ids], np.int64)
        numbers = places // self.page_rows
        order = np.argsort(numbers, kind="stable")
        rows, there = places[order] % self.page_rows, dict[torch.device, Tensor]()
        parts, end = [], 0
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            page, mine = self._page(int(number)), slice(end, end := end + int(count))
            device = page.data.device
            if device not in there:
                there[device] = to_device(rows, device)
            parts.append((page, there[device][mine], mine))
        return order, parts

    # -- checkpoints ------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """The contents, for a checkpoint: rows and ids, the oldest first.

        Of what lies in files the newest `MOST_OF_FILES` bytes: there may be more of it than memory
        to read it into, and what is missing after a restart is made anew like any other map.
        """
        held = np.fromiter(self._place.values(), np.int64, len(self._place))
        in_file = np.array(
            [self._page(int(n)).tier.name == "file" for n in held // self.page_rows], np.bool_
        )
        younger = np.cumsum(in_file[::-1])[::-1]  # of those in files, itself included
        kept = ~in_file | (younger * self.codec.row_bytes <= MOST_OF_FILES)
        ids, places = self.ids[kept], held[kept]
        rows = self.read(ids.tolist(), torch.device("cpu"))
        own = {"rows": rows, "ids": torch.from_numpy(ids), "places": torch.from_numpy(places)}
        return own | {f"codec.{n}": t for n, t in self.codec.tensors().items()}

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {
            "key": list(self.key),
            "capacity": self.capacity,
            "page_rows": self.page_rows,
            "pages": [
                None if p is None else {"tier": p.tier.name, "rows": len(p.data)}
                for p in self._pages
            ],
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> bool:
        """Take back what `tensors` and `to_json` gave, into pages as they were.

        False where they are not to be had again: nothing is held then.
        """
        by_name = {t.name: t for t in self._tiers}
        for said in data["pages"]:
            tier = by_name.get(said["tier"]) if said else None
            made = tier.page(said["rows"], self.codec.row_bytes) if said and tier else None
            if said and (made is None or len(made) < said["rows"]):
                if made is not None and tier is not None:
                    tier.give_back(made)
                self.close()
                return False
            self._add(_Page(made, tier) if made is not None and tier is not None else None)
        places = tensors["places"].numpy()
        ids = tensors["ids"].numpy()
        self._ids[places] = ids
        self._place = OrderedDict(zip(ids.tolist(), places.tolist(), strict=True))
        taken = set(places.tolist())
        self._free = [p for p in self._free if p not in taken]
        heapq.heapify(self._free)
        self.write(ids.tolist(), tensors["rows"])
        return True
