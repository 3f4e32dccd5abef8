"""A .safetensors file written piece by piece is the one that its own library writes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from learndrop.disk.tensor_file import NAMES, PIECE_BYTES, Digest, pieces


def whole(tensors: dict[str, Tensor]) -> bytes:
    return b"".join(pieces(tensors))


def same(tensors: dict[str, Tensor]) -> bool:
    dense = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return whole(tensors) == save(dense)


@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_every_dtype_is_written_as_the_library_writes_it(dtype: torch.dtype) -> None:
    values = torch.arange(12).reshape(3, 4)
    assert same({"some": values.to(dtype), "ids": values + 1, "bytes": values.to(torch.uint8)[:1]})


def test_any_shape_and_layout_is_written_as_the_library_writes_it() -> None:
    image = torch.rand(2, 3, 5, 7)
    odd = {
        "channels_last": image.contiguous(memory_format=torch.channels_last),
        "view": image[:, :, 1:, ::2],
        "number": torch.tensor(3.5),
        "one of many": torch.arange(5.0)[2:3].expand(1),
        "spread": torch.tensor(7).expand(1),
        "nothing": torch.zeros(0, 4),
        "trained ü": torch.nn.Parameter(torch.rand(4)),
    }
    assert same(odd) and same({})


def test_large_ones_are_written_where_they_lie_and_small_ones_together() -> None:
    large = {f"large{n}": torch.rand(PIECE_BYTES) for n in range(3)}
    small = {f"small{n:03}": torch.rand(10 + n) for n in range(300)}
    told = list(pieces(large | small))
    assert b"".join(told) == save(large | small)
    own = [p for p in told if any(np.shares_memory(p, t.numpy()) for t in large.values())]
    assert len(own) == 3 and len(told) <= 8
    copied = sum(len(piece) for piece in told) - sum(len(piece) for piece in own)
    assert copied < PIECE_BYTES


def test_the_digest_is_of_all_that_passed() -> None:
    digest, tensors = Digest(), {"a": torch.rand(PIECE_BYTES), "b": torch.rand(7)}
    passed = b"".join(digest.passed(pieces(tensors)))
    assert (digest.bytes, digest.sha256) == (len(passed), hashlib.sha256(passed).hexdigest())
