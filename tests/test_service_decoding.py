"""Pictures that take long to decode: refused when their time is up, and others are served on."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from learndrop.errors import TooLong
from learndrop.images.pictures import DEFAULT_LIMITS, Fit, PictureLimits, to_input
from tests.services import as_files, encoded, ingress, is_problem, listening_app, memory_app, pixels

GOOD = encoded(pixels()[0])


def slow_jpeg(side: int = 4000, passes: int = 88) -> bytes:
    """A progressive JPEG of 16 million pixels whose last pass comes again and again (0.9 s)."""
    out = io.BytesIO()
    Image.new("RGB", (side, side)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * passes + b"\xff\xd9"


SLOW = slow_jpeg()


def test_a_request_whose_pictures_take_too_long_is_refused_and_names_one(tmp_path: Path) -> None:
    with ingress(tmp_path, decode_timeout_s=0.5) as service:
        answer = service.http.post(
            "/v1/samples", files=as_files([GOOD] + [SLOW] * 20), data={"labels": str([0] * 21)}
        )
        problem = is_problem(answer, 422, "too-long", limit=0.5)
        assert problem["item"].startswith("images")
        assert service.samples() == []
        assert service.http.get("/v1/limits").json()["decode_timeout_s"] == 0.5


def test_others_are_answered_while_one_request_decodes(tmp_path: Path) -> None:
    """One process decodes for all; the slow request comes first and is far from its end."""
    app, stream, _ = memory_app(tmp_path, decode_timeout_s=60.0, decoders=1)
    with listening_app(app) as url:
        with httpx2.Client(base_url=url, timeout=120) as http:

            def slow() -> None:
                httpx2.post(
                    url + "/v1/samples",
                    files=as_files([SLOW] * 8),
                    data={"labels": str([0] * 8)},
                    timeout=120,
                )

            sender = threading.Thread(target=slow)
            sender.start()
            decoding = app.state.parts.metrics.registry.get_sample_value
            while decoding("learndrop_decoding") == 0:
                time.sleep(0.01)
            answer = http.post("/v1/samples", files=as_files([GOOD]), data={"labels": "1"})
            assert answer.status_code == 202
            assert len(stream.entries) == 1, "the small request came first into the stream"
            sender.join()
            assert len(stream.entries) == 9


def test_a_picture_that_the_decoder_reads_bit_by_bit_is_stopped_in_it() -> None:
    with pytest.raises(TooLong):
        to_input(SLOW + bytes(200_000), size=32, limits=PictureLimits(max_s=0.0))
    assert to_input(GOOD, size=32, limits=DEFAULT_LIMITS).shape == (32, 32, 3)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_both_decoders_of_jpeg_agree(progressive: bool, mode: str, fit: Fit) -> None:
    """A plain JPEG goes through simplejpeg, the same one with a comment of Exif through Pillow."""
    rng = np.random.default_rng(0)
    for width, height in ((64, 64), (33, 57), (200, 120), (7, 5)):
        coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        for subsampling in (0, 1, 2):
            picture = Image.fromarray(coarse).resize((width, height)).convert(mode)
            options = {"quality": 80, "subsampling": subsampling, "progressive": progressive}
            exif = Image.Exif()
            exif[0x010E] = "a picture"
            plain, tagged = io.BytesIO(), io.BytesIO()
            picture.save(plain, "JPEG", **options)
            picture.save(tagged, "JPEG", exif=exif, **options)
            tagged_data = tagged.getvalue()
            assert b"Exif" in tagged_data
            one = to_input(plain.getvalue(), size=32, fit=fit)
            assert (one == to_input(tagged_data, size=32, fit=fit)).all()
