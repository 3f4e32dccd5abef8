"""`learndrop feed` sends pictures as the service would have made them fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from learndrop.disk.keyring import create
from learndrop.stream.messages import Sample
from tests.commands import learndrop
from tests.services import listening_app, memory_app


def test_what_was_accepted_before_an_error_is_told(tmp_path: Path) -> None:
    secret = create(tmp_path / "keys.json", "camera", ["ingest"], rate="3/day")
    app, stream, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        arguments = ["feed", "digits", "--limit", "90", "--batch", "40", "--url", url]
        done = learndrop(*arguments, LEARNDROP_API_KEY=secret)  # two of three ask for limits
    assert done.returncode == 5 and len(stream.entries) == 40
    told, error = done.stderr.splitlines()
    assert told.startswith("40 of 90 images were accepted (ids ") and error.startswith("error: 429")


def test_one_class_alone_is_sent_and_fitted_as_the_service_does(tmp_path: Path) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    wide = np.full((20, 40, 3), 255, np.uint8)
    Image.fromarray(wide).save(tmp_path / "pets" / "cat" / "wide.png")
    app, stream, _ = memory_app(tmp_path / "data", fit="pad")
    with listening_app(app) as url:
        done = learndrop("feed", str(tmp_path / "pets"), "--url", url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 images of 1 classes accepted")
    (sample,) = map(Sample.from_fields, stream.entries.values())
    assert sample.label == "cat"
    assert (sample.image[0] == 0).all() and (sample.image[16] == 255).all()
