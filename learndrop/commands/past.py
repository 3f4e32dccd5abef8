"""`learndrop replay` and `learndrop export`: what would another threshold have done?"""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from learndrop import errors
from learndrop.bench.given import assignment

Source = Annotated[
    str,
    typer.Argument(help="Archive folder or exported .npz; default: the archive of the data_dir."),
]
Given = Annotated[list[str] | None, typer.Option("--set", help="A setting: --set drift_delta=0.01")]

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def replay(source: Source = "", given: Given = None, as_json: Json = False) -> None:
    """Play what was learned again under other settings, beside those in force.

    Both runs start with the same fresh network (or the first weights of the settings).
    """
    if util.find_spec("torch") is None:
        raise errors.NotFound("replay needs torch: pip install 'learndrop[service,worker]'")
    from learndrop.bench.past import insist, play, rows
    from learndrop.settings import load_settings
    from learndrop.terminal import table

    changed = dict(assignment(text) for text in given or ())
    if not changed:
        raise errors.BadSettings("say what to change: --set drift_delta=0.01")
    in_force = load_settings()
    path = Path(source) if source else in_force.archive_dir
    insist(path)  # before anything is said to be played
    told = ", ".join(f"{name}={value}" for name, value in changed.items())
    runs = []
    for name, settings, own in (
        ("as it was", in_force, {}),
        (told, load_settings(**changed), changed),
    ):
        typer.echo(f"playing {path}: {name} ...", err=True)
        runs.append(play(name, path, settings, own))
    if as_json:
        show_json([run.to_json() for run in runs])
    else:
        table(("", *(run.name for run in runs)), rows(runs))


def export(
    out: Annotated[Path, typer.Argument(help="File to write, .npz: any numpy reads it.")],
    as_json: Json = False,
) -> None:
    """Write the archive of what was learned into one file."""
    import numpy as np

    from learndrop.disk.archive import Archive, Segment
    from learndrop.disk.files import write_atomic
    from learndrop.settings import load_settings

    folder = load_settings().archive_dir
    found = list(Archive(folder, 0).segments())
    if not found:
        raise errors.NotFound(f"{folder}: no archive there; LEARNDROP_ARCHIVE_BYTES keeps one")
    names = Segment.__dataclass_fields__
    whole = Segment(*(np.concatenate([getattr(s, name) for s in found]) for name in names))
    write_atomic(out.absolute(), whole.to_bytes())
    if as_json:
        show_json({"file": str(out), "samples": len(whole), "segments": len(found)})
    else:
        typer.echo(f"{len(whole):,} samples of {len(found):,} segments in {out}")


def show_json(value: Any) -> None:
    """One JSON value on standard output."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
