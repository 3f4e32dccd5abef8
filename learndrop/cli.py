"""The `learndrop` command; thin: it reads options, calls one thing, and says what came of it.

Everything heavy is imported inside the command that needs it, so that --help is quick and no
command of the client imports torch. Exit codes: 0 done; 1 failed; 2 an option, a setting or a
source that cannot be used; 3 not found; 5 refused for now, try later; 12 nobody answers at that
address; 130 interrupted. An error is one line; --debug adds the traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import metadata, util
from typing import Annotated, Any, NoReturn

import typer

from learndrop import errors
from learndrop.bench.options import bench
from learndrop.commands import keys, labels, letters, past
from learndrop.commands.console import Json, Url, connect, show_json
from learndrop.commands.predict import predict

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 not usable as asked, 3 not found, 5 refused for now, "
    "12 service not reachable, 130 interrupted."
)
INTERRUPTED = 130
app = typer.Typer(
    help="An image classifier that keeps learning while its learned layers leave training.\n\n"
    "Start here: [bold]learndrop demo[/]; or start the service ([bold]make up[/]), "
    "then [bold]learndrop feed FOLDER[/], then [bold]learndrop status[/].",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(keys.app, name="keys")
app.add_typer(labels.app, name="labels")
app.add_typer(letters.app, name="dead-letters")
SOURCES = "digits, a .npz, a folder of class folders, torchvision:NAME:ROOT."
Size = Annotated[int, typer.Option(help="Side in pixels; default: what the service learns at.")]


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks for errors.")] = False,
    key: Annotated[
        str, typer.Option("--key", help="API key; other users see it: better LEARNDROP_API_KEY.")
    ] = "",
) -> None:
    """Options of every command; `main` has read --debug and --key already, wherever they stand."""
    if version:
        typer.echo(f"learndrop {metadata.version('learndrop')}")
        raise typer.Exit


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def demo(
    context: typer.Context,
    data: Annotated[str, typer.Option(help=SOURCES)] = "digits",
    out: Annotated[str, typer.Option(help="Folder for table, plot and the service's data.")] = "",
) -> None:
    """Watch it learn, drop layers, meet a drift and recover; about 3 minutes.

    Other options are handed on: see `python -m deploy.demo --help`.
    """
    if util.find_spec("deploy") is None or util.find_spec("deploy.demo") is None:
        raise errors.NotFound(
            "the demo runs the whole service and lives in the repository, not in the installed "
            "package: clone it and run `make demo` there"
        )
    from subprocess import run  # the demo handles Ctrl-C itself

    command = [sys.executable, "-m", "deploy.demo", "--data", data]
    command += ["--out", out] if out else []
    try:
        raise typer.Exit(run([*command, *context.args]).returncode)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def status(url: Url = "", as_json: Json = False) -> None:
    """What is in training, what is dropped and why, and the last events."""
    with connect(url, patience_s=1.0) as client:
        state = client.state()
    if as_json:
        show_json(state)
        return
    from learndrop.terminal import render

    render(state)


@app.command()
def sample(
    sample_id: Annotated[str, typer.Argument(help="As `feed` or the service gave it.")],
    url: Url = "",
    as_json: Json = False,
) -> None:
    """What became of one sample: pending, learned (in which version), buried (why) or deleted."""
    with connect(url, patience_s=1.0) as client:
        fate = client.sample(sample_id)
    if as_json:
        show_json(fate)
        return
    from learndrop.terminal import told_fate

    typer.echo(f"{fate['id']}\t{told_fate(fate)}")


@app.command()
def feed(
    source: Annotated[str, typer.Argument(help=SOURCES)],
    url: Url = "",
    size: Size = 0,
    limit: Annotated[int, typer.Option(help="Most images; 0 sends all.", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="Images in one request.", min=1, max=256)] = 64,
    as_json: Json = False,
) -> None:
    """Send labelled images to a running service."""
    from learndrop.images.datasets import load

    with connect(url) as client:
        takes = client.limits()  # as it would make pictures fit itself
        side = size or int(takes["image_size"])
        data = load(source, side, limit or None, fit=takes["fit"], classes=1)
        for line in data.skipped:
            typer.echo(f"skipped {line}", err=True)
        ids: list[str] = []
        try:
            with progress(len(data)) as advance:
                for start in range(0, len(data), batch):
                    part = slice(start, start + batch)
                    ids += client.learn(data.images[part], data.labels[part])
                    advance(len(data.labels[part]))
        except errors.LearndropError:
            if ids:  # sent again they would be learned twice
                told = f"(ids {ids[0]} to {ids[-1]})"
                typer.echo(f"{len(ids):,} of {len(data):,} images were accepted {told}", err=True)
            raise
    if as_json:
        show_json({"accepted": len(ids), "skipped": list(data.skipped), "ids": ids})
    else:
        typer.echo(
            f"{len(ids):,} images of {len(data.classes)} classes accepted "
            f"(ids {ids[0]} to {ids[-1]}); see: learndrop status"
        )


app.command()(predict)


@app.command()
def delete(
    sample_id: Annotated[str, typer.Argument(help="As feed and POST /v1/samples gave it.")],
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Only how far a deletion has come.")
    ] = False,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Delete a sample wherever it is, and say what that does not reach."""
    with connect(url) as client:
        told = client.deletion(sample_id) if receipt else client.delete_sample(sample_id)
    if as_json:
        show_json(told)
        return
    from learndrop.terminal import told_deletion

    for line in told_deletion(told):
        typer.echo(line)


app.command()(bench)
app.command()(past.replay)
app.command()(past.export)


@app.command()
def settings(
    as_json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The defaults as the README's table.")
    ] = False,
) -> None:
    """Every setting with its value and where that comes from."""
    from learndrop.settings import explained, load_settings, no_setting, unknown_variables

    rows = explained(load_settings())
    for name in unknown_variables():
        typer.echo(f"{no_setting(name)}; ignored", err=True)
    if as_json:
        show_json(rows)
        return
    from learndrop.terminal import settings_table, table

    if markdown:
        typer.echo(settings_table(rows))
        return
    table(
        ("variable", "value", "from", "meaning"),
        [[str(row[key]) for key in ("variable", "value", "origin", "meaning")] for row in rows],
    )


def progress(total: int) -> Any:
    """A context that gives a function to call with the number of images done."""
    from learndrop.terminal import progress_bar

    return progress_bar(total)


def exit_code(exc: errors.LearndropError) -> int:
    """The exit code of an error, as the head of this file lists them."""
    if isinstance(exc, errors.ServerRefused):
        return {404: 3, 410: 3, 429: 5, 503: 5}.get(exc.status, 1)
    if isinstance(exc, errors.ServerAway | errors.StreamAway | errors.DidNotStart):
        return 12
    if isinstance(exc, errors.Unavailable):
        return 5
    if isinstance(exc, errors.NotFound):
        return 3
    if isinstance(exc, errors.BadSettings | errors.BadInput | errors.BadNetwork):
        return 2
    return 1


def without_key(arguments: Iterable[str]) -> list[str]:
    """The arguments without `--key SECRET`, which becomes the setting `api_key` of this process."""
    rest: list[str] = []
    given = iter(arguments)
    for argument in given:
        name, found, secret = argument.partition("=")
        if name == "--key":
            os.environ["LEARNDROP_API_KEY"] = secret if found else next(given, "")
        else:
            rest.append(argument)
    return rest


def main() -> NoReturn:
    """Run the command; every error is one line, a mistyped command's too."""
    debug = "--debug" in sys.argv
    sys.argv = [sys.argv[0], *without_key(a for a in sys.argv[1:] if a != "--debug")]
    code = 0
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as exc:
        misused(exc)
    except errors.LearndropError as exc:
        if debug:
            raise
        code = exit_code(exc)
        hint = " (start it with `make up`, or give its address with --url)" if code == 12 else ""
        typer.echo(f"error: {' '.join(str(exc).split())}{hint}", err=True)
        sys.exit(code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone: nothing more to say
        sys.exit(1)
    if code == INTERRUPTED:
        typer.echo("interrupted", err=True)
    sys.exit(code or 0)


def misused(exc: typer.TyperException) -> NoReturn:
    """Say in one line what is wrong with the arguments, and where their meaning is told."""
    context, told = getattr(exc, "ctx", None), " ".join(exc.format_message().split())
    if not told:  # a group of commands without one: they have been listed
        sys.exit(exc.exit_code)
    see = f" (see `{context.command_path} --help`)" if context is not None else ""
    typer.echo(f"error: {told}{see}", err=True)
    sys.exit(exc.exit_code)


if __name__ == "__main__":
    main()
