"""`learndrop labels`: which predictions a label is wished for, and labels that come later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from learndrop.commands.console import Json, Url, connect, show_json

app = typer.Typer(help="Labels that come after the prediction: wished, give.", no_args_is_help=True)


@app.command()
def wished(
    limit: Annotated[int, typer.Option(help="Most predictions.", min=1, max=100)] = 20,
    pictures: Annotated[Path | None, typer.Option(help="Write their pictures there.")] = None,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """The recent predictions most worth a label, and why."""
    with connect(url) as client:
        rows = client.label_requests(limit)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            for row in rows:
                picture = client.prediction_picture(row["prediction"])
                (pictures / f"{row['prediction']}.png").write_bytes(picture)
    if as_json:
        show_json(rows)
        return
    from learndrop.terminal import table

    shown = [[row["prediction"], row["label"], f"{row['worth']:.2f}", row["why"]] for row in rows]
    table(("prediction", "answered", "worth", "why"), shown)


@app.command()
def give(
    prediction: Annotated[str, typer.Argument(help="A prediction's id.")],
    label: Annotated[str, typer.Argument(help="What is on its picture.")],
    correct: Annotated[bool, typer.Option("--correct", help="Replace another label.")] = False,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Say what was on a picture that was predicted."""
    with connect(url) as client:
        result = client.label(prediction, label, correct=correct)
    if as_json:
        show_json(result)
        return
    sample = f": sample {result['sample_id']}" if result["sample_id"] else ""
    typer.echo(result["outcome"] + sample)
