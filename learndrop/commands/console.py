"""What the commands of the client share: the options, a client, and JSON on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from learndrop.client import Client

Url = Annotated[str, typer.Option("--url", help="The service; default from LEARNDROP_HOST, _PORT.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def connect(url: str, patience_s: float = 60.0) -> Client:
    """A client of the service at `url`, or at the address that the settings name.

    It tries again for `patience_s` where nobody listens or the service says to try later.
    """
    from learndrop.client import Client
    from learndrop.settings import load_settings

    known = load_settings()
    if not url:
        host = known.host if known.host not in {"0.0.0.0", "::"} else "127.0.0.1"
        url = f"http://{host}:{known.port}"
    return Client(url, key=known.api_key, patience_s=patience_s)


def show_json(value: Any) -> None:
    """One JSON value on standard output."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
