"""What an earlier learndrop of each format wrote, this one reads; what a newer wrote is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from safetensors import safe_open

from learndrop.disk import checkpoint_files
from learndrop.disk.archive import Archive, Segment, read_segment, segment
from learndrop.disk.registry import Registry
from learndrop.errors import BadMessage, UnknownFileFormat
from learndrop.events import Event
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.learning.life import Recovery
from learndrop.learning.returning import tensors_of
from learndrop.stream.messages import Sample
from learndrop.terminal import render
from tests.golden import make
from tests.golden.coded import fields

FORMATS = sorted(p for p in make.HERE.iterdir() if p.name.isdigit())


def told(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def restored(folder: Path) -> tuple[Learner, str]:
    found = checkpoint.load_latest(folder / "checkpoints", make.settings(), make.chain())
    assert found is not None
    return found


@pytest.fixture(params=FORMATS, ids=lambda p: f"format-{p.name}")
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy: readers may not change what they read, but a failing one might."""
    return Path(shutil.copytree(request.param, tmp_path / "golden"))


def test_there_are_files_of_the_present_formats() -> None:
    assert [int(p.name) for p in FORMATS] == list(range(1, checkpoint_files.FORMAT + 1))
    assert sum(f.stat().st_size for p in FORMATS for f in p.rglob("*") if f.is_file()) < 500_000


def test_a_checkpoint_is_read_with_its_position_and_answers_as_then(golden: Path) -> None:
    learner, position = restored(golden)
    assert position == "1700000000000-7"
    expected = told(golden, "answers.json")["probabilities"]
    assert np.allclose(learner.predict(make.pictures()), expected, atol=1e-5)
    state = told(golden, "state.json")
    assert learner.state()["samples_learned"] == state["samples_learned"]
    assert learner.state()["flops"] == state["flops"]
    assert [e.to_json() for e in learner.recent_events] == told(golden, "events.json")


def test_learning_goes_on_from_it(golden: Path) -> None:
    learner, _ = restored(golden)
    before = learner.progress.samples
    reports = [learner.learn(batch) for batch in make.batches(seed=1)]
    assert learner.progress.samples == before + sum(r.count for r in reports)
    assert sum(r.correct for r in reports) > 0.9 * sum(r.count for r in reports)


def test_a_checkpoint_without_what_is_younger_than_its_format_is_read_too(golden: Path) -> None:
    folder = golden / "checkpoints" / "00000001"
    state = orjson.loads((folder / "state.json").read_bytes().partition(b"\n")[2])
    for name in ("belief", "averages"):
        del state["learner"][name]
    del state["number"]
    (folder / "state.json").write_bytes(checkpoint_files.sealed(state))
    learner, _ = restored(golden)
    assert learner.belief.rows()["keys"] == [] and len(learner.belief.reserve) == 0
    learner.learn(make.samples(8))
    assert learner.belief.trust.rows()[0]["key"] == "line"


def test_a_checkpoint_of_a_younger_learndrop_with_more_in_it_is_read(golden: Path) -> None:
    folder = golden / "checkpoints" / "00000001"
    state = orjson.loads((folder / "state.json").read_bytes().partition(b"\n")[2])
    values = state["learner"]
    values["mood"], values["life"]["mood"] = "good", 1
    for event in values["events"]:
        event["mood"] = "good"
    (folder / "state.json").write_bytes(checkpoint_files.sealed(state))
    assert restored(golden)[1] == "1700000000000-7"


def test_the_first_learndrop_of_the_format_reads_what_this_one_writes(
    golden: Path, tmp_path: Path
) -> None:
    """As far as it shows in names: `python -m tests.chaos.upgrade` lets one run."""
    first = _learner_in(golden / "checkpoints" / "00000001")
    learner, _ = restored(golden)
    learner.recovery = Recovery(0.9, 100, 2)
    now = _learner_in(checkpoint.save(learner, tmp_path, position="1-0", keep=1))
    assert first.keys() <= now.keys()
    assert first["life"].keys() == now["life"].keys()  # it takes these and nothing else
    assert now["recovery"].keys() == {"accuracy_before", "due_samples", "kept"}
    features = now["rehearsal"]["features"]
    assert features["key"] is None and len(features["counts"]) == 3
    assert "rehearsal/features.rows" in _tensors_in(tmp_path)


def _learner_in(folder: Path) -> dict[str, Any]:
    state = orjson.loads((folder / "state.json").read_bytes().partition(b"\n")[2])
    return dict(state["learner"])


def _tensors_in(root: Path) -> set[str]:
    (path,) = root.glob("*/tensors.safetensors")
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def test_versions_are_read_with_their_bytes_pins_and_pointer(golden: Path) -> None:
    registry = Registry(golden / "models")
    version = registry.load()
    assert (version.number, version.trouble, registry.pins()) == (2, None, {1})
    assert version.about["classes"] == ["dark", "light"]
    learner, _ = restored(golden)
    state = learner.chain.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in tensors_of(version.parts).items())
    assert registry.publish({"next": b"one"}, {}) == 3


def test_an_entry_is_a_sample_with_its_key(golden: Path) -> None:
    sample = Sample.from_fields(fields(told(golden, "entry.json")))
    assert same(sample, make.samples(1)[0])


def test_an_entry_from_before_there_were_keys_is_a_sample_too(golden: Path) -> None:
    values = fields(told(golden, "entry.json"))
    values.pop(b"key")
    assert Sample.from_fields(values).key == ""


def test_a_dead_letter_still_holds_its_sample_and_its_reason(golden: Path) -> None:
    values = fields(told(golden, "dead-letter.json"))
    assert same(Sample.from_fields(values), make.samples(2)[1])
    assert b"unreadable" in values.values() and b"for the golden files" in values.values()


def test_state_and_events_are_those_that_readers_know(
    golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = told(golden, "state.json")
    stored = json.loads(told(golden, "redis-state.json")["state"])
    assert {"samples_learned", "drop", "prequential", "flops"} <= set(state) & set(stored)
    for data in told(golden, "events.json"):
        assert Event.from_json(data).to_json() == data
    assert Event.from_json({**data, "younger": 1}).to_json() == data
    account = {"accepted": 1, "learned": 1, "buried": 0, "pending": 0, "deleted": 0}
    render({**stored, "samples": account, "events": told(golden, "events.json")})
    assert "head" in capsys.readouterr().out


def test_a_segment_is_read(golden: Path) -> None:
    (found,) = Archive(golden / "archive", 0).segments()
    assert all(same(a, b) for a, b in zip(found.samples(), make.samples(4), strict=True))
    assert found.ids.tolist() == [f"1700000000000-{n}" for n in range(4)]


def test_newer_formats_are_refused_by_name(golden: Path) -> None:
    folder = golden / "checkpoints" / "00000001"
    state = orjson.loads((folder / "state.json").read_bytes().partition(b"\n")[2])
    (folder / "state.json").write_bytes(checkpoint_files.sealed({**state, "format": 2}))
    with pytest.raises(UnknownFileFormat, match="00000001 has format 2, .* up to 1"):
        restored(golden)
    values = fields(told(golden, "entry.json"))
    with pytest.raises(BadMessage, match="message version b'2', expected b'1'"):
        Sample.from_fields({**values, b"v": b"2"})
    path = next((golden / "archive").glob("*.npz"))
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files}
    np.savez(path, **{**arrays, "format": np.array(2)})
    with pytest.raises(UnknownFileFormat, match=r"\.npz has format 2, .* up to 1"):
        read_segment(path)
    assert isinstance(segment(["1-0"], make.samples(1)), Segment)


def same(a: Sample, b: Sample) -> bool:
    return (a.label, a.accepted_s, a.key) == (b.label, b.accepted_s, b.key) and np.array_equal(
        a.image, b.image
    )
