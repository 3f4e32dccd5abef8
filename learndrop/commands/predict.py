"""`learndrop predict`: what is on pictures, and which of the files is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from learndrop import errors
from learndrop.commands.console import Json, Url, connect, show_json

if TYPE_CHECKING:
    from learndrop.client import Client


def predict(
    files: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files.")],
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Ask a running service what is on pictures.

    A file that is no picture is named and left out; the exit status is then 1.
    """
    pictures = [read(path) for path in files]
    with connect(url) as client:
        try:
            answers: list[dict[str, Any] | None] = [*client.predict(pictures)]
        except errors.ServerRefused as exc:
            if "index" not in exc.problem:
                raise
            answers = [_alone(client, *pair) for pair in zip(files, pictures, strict=True)]
    named = [(path, one) for path, one in zip(files, answers, strict=True) if one is not None]
    if as_json:
        show_json([{"file": str(path), **answer} for path, answer in named])
    else:
        for path, answer in named:
            typer.echo(f"{path}\t{answer['label']}\t{_best(answer)}")
    if len(named) < len(files):
        raise typer.Exit(1)


def read(path: Path) -> bytes:
    """A file's bytes."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise errors.NotFound(f"{path}: {exc.strerror}") from exc


def _alone(client: Client, path: Path, picture: bytes) -> dict[str, Any] | None:
    """The answer to one file; None, and a line that says why, if it is no picture.

    A client packs its requests by itself, so an index in a refusal is not that of the file.
    """
    try:
        return client.predict([picture])[0]
    except errors.ServerRefused as exc:
        if "index" not in exc.problem:
            raise
        why = str(exc.problem["detail"]).removeprefix("picture 0: ")
        typer.echo(f"skipped {path}: {why}", err=True)
        return None


def _best(answer: dict[str, Any]) -> str:
    """The three most likely labels."""
    best = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{label} {100 * share:.1f} %" for label, share in best)
