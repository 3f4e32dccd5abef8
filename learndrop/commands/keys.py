"""`learndrop keys`: make, list, change and take away API keys, in the file of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="API keys: create, list, rotate, revoke. A running service sees a change in a second.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="Of the key: letters, digits, dots, dashes.")]
Role = Annotated[
    list[str], typer.Option("--role", help="ingest, predict, read or admin; again for more.")
]
Rate = Annotated[str, typer.Option("--rate", help="Its own limit, as 100/minute.")]
Grace = Annotated[float, typer.Option("--grace-s", help="The old secret works so long.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("create")
def create_key(name: Name, role: Role, rate: Rate = "") -> None:
    """Make a key and print its secret, once: it is stored nowhere."""
    from learndrop.disk.keyring import create

    typer.echo(create(_path(), name, role, rate))


@app.command("rotate")
def rotate_key(name: Name, grace_s: Grace = 3600.0) -> None:
    """Give a key a new secret and print it; the old one works on for a while."""
    from learndrop.disk.keyring import rotate

    typer.echo(rotate(_path(), name, grace_s))


@app.command("revoke")
def revoke_key(name: Name) -> None:
    """Take a key away, at once."""
    from learndrop.disk.keyring import revoke

    revoke(_path(), name)
    typer.echo(f"{name} is revoked", err=True)


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """Names, roles and rates; the secrets are known to nobody."""
    from learndrop.disk.keyring import ROLES, Keyring, read_keys

    try:
        ring = read_keys(_path())
    except FileNotFoundError:
        ring = Keyring()
    if as_json:
        import orjson

        told = [key.to_json() for key in ring.keys]
        for one in told:
            for secret in one["secrets"]:
                del secret["sha256"]
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    from learndrop.terminal import ago, table

    rows = []
    for key in ring.keys:
        roles = " ".join(role for role in ROLES if role in key.roles)
        newest = max((secret.created_s for secret in key.secrets), default=0.0)
        rows.append((key.name, roles, key.rate or "-", ago(newest), str(len(key.secrets))))
    table(("name", "roles", "rate", "newest secret", "secrets"), rows)


def _path() -> Path:
    from learndrop.settings import load_settings

    return load_settings().keys_path
