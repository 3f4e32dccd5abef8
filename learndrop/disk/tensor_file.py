"""Tensors as the content of a .safetensors file, piece by piece.

`safetensors.torch.save` makes all of it in memory, and copies that once more: a checkpoint of 55 MB
took 110 MB for a moment. Here it is a header and then the tensors where they lie. The bytes are
the same (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import orjson
import torch
from torch import Tensor

PIECE_BYTES = 2**20
NAMES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = ["BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "F64", "I64", "U64"]


class Digest:
    """Counts and hashes (SHA-256) pieces on their way."""

    def __init__(self) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()

    def passed(self, pieces: Iterable[memoryview]) -> Iterator[memoryview]:
        """The same pieces."""
        for piece in pieces:
            self.bytes += len(piece)
            self._hash.update(piece)
            yield piece

    @property
    def sha256(self) -> str:
        """Of all that passed, in hexadecimal."""
        return self._hash.hexdigest()


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    """The file's bytes in order; what is smaller than PIECE_BYTES is gathered up to that.

    Raises:
        KeyError: for a dtype that is not in NAMES.
    """
    gathered = bytearray()
    for part in _parts(tensors):
        if len(gathered) + len(part) <= PIECE_BYTES:
            gathered += part
            continue
        if gathered:
            yield memoryview(gathered)
            gathered = bytearray()
        if len(part) < PIECE_BYTES:
            gathered += part
        else:
            yield part
    if gathered:
        yield memoryview(gathered)


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    # The format's own writer sorts so: whatever needs the widest alignment comes first.
    rank = {dtype: _ORDER.index(name) for dtype, name in NAMES.items()}
    ordered = sorted(tensors.items(), key=lambda item: (-rank[item[1].dtype], item[0]))
    head, at = {}, 0
    for name, tensor in ordered:
        past = at + tensor.nbytes
        head[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, past],
        }
        at = past
    text = orjson.dumps(head)
    text += b" " * (-len(text) % 8)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        dense = tensor.detach().cpu().contiguous()
        # Where there is one element any stride counts as dense, and only 1 can be seen as bytes.
        yield dense.as_strided((dense.numel(),), (1,)).view(torch.uint8).numpy().data
