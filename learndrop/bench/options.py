"""The options of `learndrop bench`; nothing heavy is imported until they have been read."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Annotated

import typer

from learndrop import errors
from learndrop.bench.given import assignment


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="The short form (the default).")] = False,
    long: Annotated[
        bool, typer.Option("--long", help="Every strategy on every kind of stream; hours.")
    ] = False,
    data: Annotated[
        str, typer.Option(help="digits, a .npz, a folder of class folders, torchvision:NAME:ROOT.")
    ] = "digits",
    stream: Annotated[
        list[str] | None,
        typer.Option(help="abrupt, gradual, ordered, recurring, rotation, swap, incremental, ..."),
    ] = None,
    world: Annotated[
        list[str] | None, typer.Option(help="One after the other: clean, noise40, swap, block3 ...")
    ] = None,
    length: Annotated[list[int] | None, typer.Option(help="Samples in each world.", min=64)] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="plain:every=3, drift-aware:share=0.2, learndrop, ...")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Repeat for several.")] = None,
    real_time: Annotated[
        float | None, typer.Option(help="Also in real time, at so many times full's rate.", min=0)
    ] = None,
    backlog: Annotated[
        int | None, typer.Option(help="Samples that may wait in real time.", min=0)
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Also noise in each unit; samples of a world.", min=0)
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="A setting: --set rate=0.01")
    ] = None,
    processor: Annotated[
        bool, typer.Option("--processor-seconds", help="On one thread, where others compute too.")
    ] = False,
    operations: Annotated[
        bool,
        typer.Option(
            "--operations",
            help="Seconds are counted operations: the same to the bit on every machine of a kind.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for runs, tables and plots.")] = Path(
        "out/bench"
    ),
    limit_s: Annotated[
        float, typer.Option(help="Begin no run after so many seconds; call again to go on.")
    ] = float("inf"),
    epochs: Annotated[
        float, typer.Option(help="No stream: so many epochs on a fixed set, the paper's table.")
    ] = 0.0,
    network: Annotated[
        list[str] | None, typer.Option(help="With --epochs; default: the paper's four.")
    ] = None,
    images: Annotated[int, typer.Option(help="With --epochs: to train on; 0 is all.", min=0)] = 0,
    held_out: Annotated[int, typer.Option(help="With --epochs: only answered.", min=1)] = 1000,
    linear_head: Annotated[
        bool, typer.Option(help="With --epochs: VGGs end in one dense layer, as those for 32 px.")
    ] = False,
    redraw: Annotated[
        Path | None, typer.Option(help="Only draw again what the runs in this folder give.")
    ] = None,
) -> None:
    """Play streams through learndrop and what one would use instead, side by side.

    What --quick or --long would play is replaced by what --stream, --world, --length, --strategy
    and --seed name. Runs that are in the folder already are not done again.
    """
    if util.find_spec("torch") is None:
        raise errors.NotFound("bench needs torch: pip install 'learndrop[service,worker,local]'")
    from dataclasses import replace

    from learndrop.bench import plans
    from learndrop.bench.command import bench as run_bench
    from learndrop.bench.pages.redraw import TABLES, redraw_all
    from learndrop.settings import load_settings

    if redraw is not None:
        for page in redraw_all(redraw):
            typer.echo(page.read_text())
        return

    if epochs > 0:
        from learndrop.bench.epochs import NETWORKS, bench_epochs

        given_settings = dict(assignment(t) for t in given or ())
        load_settings(**given_settings)
        bench_epochs(
            source=data,
            networks=tuple(network or NETWORKS),
            epochs=epochs,
            images=images,
            held_out=held_out,
            linear_head=linear_head,
            seeds=tuple(seed or (0,)),
            out=out,
            settings=given_settings,
            say=typer.echo,
        )
        typer.echo((out / "epochs.md").read_text())
        return

    clock = "operations" if operations else "processor" if processor else "wall"
    own = plans.settings_of(data, clock, dict(assignment(t) for t in given or ()))
    load_settings(**own)
    plan = (plans.long_form if long and not quick else plans.short_form)(data, own)
    plan = replace(
        plan,
        streams=plans.chosen(plan.streams, stream or (), tuple(world or ()), length or ()),
        strategies=tuple(strategy or ()) or plan.strategies,
        seeds=tuple(seed or ()) or plan.seeds,
        real_time=plan.real_time if real_time is None else real_time,
        backlog=plan.backlog if backlog is None else backlog,
        depth=plan.depth if depth is None else depth,
        clock=clock,
    )
    if strategy:
        from learndrop.bench.strategies import strategy as known  # torch comes with them

        for name in strategy:
            known(name)
    finished = run_bench(plan, out=out, say=typer.echo, limit_s=limit_s)
    typer.echo((out / TABLES).read_text())
    if not finished:
        typer.echo("the time was up: the same command goes on from here", err=True)
