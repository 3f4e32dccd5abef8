"""`learndrop dead-letters`: look at what could not be learned, put it back, or throw it away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from learndrop import errors
from learndrop.commands.console import Json, Url, connect, show_json

app = typer.Typer(
    help="Samples that could not be learned: list, show, replay, purge.", no_args_is_help=True
)
MOST_SHOWN = 50
Id = Annotated[str, typer.Argument(help="A dead letter's id, as `list` shows it.")]
Some = Annotated[str, typer.Argument(help="A dead letter's id; or nothing, with --all.")]
All = Annotated[bool, typer.Option("--all", help="All of them, or all of --reason.")]
OfReason = Annotated[str, typer.Option("--reason", help="Only those of one reason.")]


@app.command("list")
def list_letters(
    reason: OfReason = "",
    limit: Annotated[int, typer.Option(help="Most letters.", min=1, max=500)] = MOST_SHOWN,
    cursor: Annotated[str, typer.Option(help="Where the page before ended.")] = "",
    url: Url = "",
    as_json: Json = False,
) -> None:
    """The newest first, and how many there are for each reason."""
    with connect(url) as client:
        page = client.dead_letters.page(reason or None, limit, cursor or None)
    if as_json:
        show_json(page)
        return
    from learndrop.terminal import ago, table

    numbers = [f"{n:,} {name}" for name, n in page["kept"].items() if n]
    typer.echo(", ".join(numbers) or "no dead letters")
    rows = [
        [one["id"], ago(one["time"]), one["reason"], one["label"], one["why"]]
        for one in page["dead_letters"]
    ]
    if rows:
        table(("id", "when", "reason", "label", "why"), rows)
    if page["next_cursor"]:
        same = f" --reason {reason}" if reason else ""
        same += f" --limit {limit}" if limit != MOST_SHOWN else ""
        typer.echo(f"more: learndrop dead-letters list{same} --cursor {page['next_cursor']}")


@app.command()
def show(
    letter_id: Id,
    picture: Annotated[Path | None, typer.Option(help="Write its picture there, as PNG.")] = None,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """One with every field of its entry."""
    with connect(url) as client:
        letter = client.dead_letters.show(letter_id)
        if picture is not None:
            picture.write_bytes(client.dead_letters.picture(letter_id))
    if as_json:
        show_json(letter)
        return
    from learndrop.terminal import table

    own = {name: value for name, value in letter.items() if name != "fields"}
    rows = [[name, str(value)] for name, value in own.items()]
    table(("what", "value"), rows + [[f"field {n}", v] for n, v in letter["fields"].items()])


@app.command()
def replay(
    letter_id: Some = "", every: All = False, reason: OfReason = "", url: Url = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Put one or all back on the stream, to be learned."""
    asked_for(letter_id, every, reason)
    with connect(url) as client:
        letters = client.dead_letters
        done = letters.replay(letter_id) if letter_id else letters.replay_all(reason or None)
    told(done, done["replayed"], "put back", as_json)


@app.command()
def purge(
    letter_id: Some = "", every: All = False, reason: OfReason = "", url: Url = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Throw one or all away for good; the samples stay counted as buried."""
    asked_for(letter_id, every, reason)
    with connect(url) as client:
        letters = client.dead_letters
        done = letters.delete(letter_id) if letter_id else letters.purge(reason or None)
    told(done, done["purged"], "thrown away", as_json)


def asked_for(letter_id: str, every: bool, reason: str) -> None:
    """Either one, or many on purpose.

    Raises:
        BadInput: if it is neither or both.
    """
    if bool(letter_id) == (every or bool(reason)):
        raise errors.BadInput("name one dead letter, or say --all or --reason REASON")


def told(done: dict[str, Any], number: int, what: str, as_json: bool) -> None:
    """Say how many, and what is left."""
    if as_json:
        show_json(done)
        return
    left = f"; {done['left']} are left: {done.get('stopped') or 'call again'}"
    typer.echo(f"{number} {what}" + (left if done["left"] else ""))
