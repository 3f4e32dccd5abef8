"""Settings of the service."""

from __future__ import annotations

from pydantic import Field, SecretStr

from learndrop.settings.group import MIB, Group

RATE = r"[1-9]\d{0,8} ?/ ?(second|minute|hour|day)"
"""How a rate is written: so many requests in such a time."""


class ServiceSettings(Group):
    """Its address, what a request may hold, how long things may take."""

    host: str = "127.0.0.1"
    """Address the service binds to."""
    port: int = Field(8000, ge=1, le=65535)
    """Port of the service."""
    keys_file: str = ""
    """File of API keys (`learndrop keys`); empty is keys.json in `data_dir`."""
    allow_open: bool = False
    """Without keys, bind to an address that others reach all the same: anyone may do anything."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, as a JSON list, by which browsers may reach the service without a key, beside loopback
    names and addresses: a page of elsewhere may make any other name lead here."""
    key_rate: str = Field("", pattern=rf"^({RATE})?$")
    """Requests that one key may make, as 600/minute, in each service process; empty is no limit."""
    audit_kept: int = Field(1000, ge=1, le=1_000_000)
    """Actions of admins kept for GET /v1/audit, and as many tries of others; the oldest go first
    (the log has them all)."""
    api_key: SecretStr = SecretStr("")
    """What the command line shows to a service that asks for a key."""
    max_head_bytes: int = Field(65536, ge=1024, le=MIB)
    """Largest head of a request, address and headers together; what comes at once may be larger by
    256 KiB."""
    max_body_bytes: int = Field(32 * MIB, ge=1024, le=1024 * MIB)
    """Largest request body, also counted while a chunked body arrives."""
    max_bodies_bytes: int = Field(256 * MIB, ge=1024)
    """Bytes of all request bodies, and of what is unpacked and decoded of them, held at one moment
    before more are answered with 503; each counts until its request is answered."""
    max_batch: int = Field(256, ge=1, le=4096)
    """Most images in one request."""
    max_image_bytes: int = Field(8 * MIB, ge=1024)
    """Largest encoded picture."""
    max_image_pixels: int = Field(16_000_000, ge=1024)
    """Most pixels (width x height) that a picture's header may claim."""
    max_label_chars: int = Field(100, ge=1, le=1000)
    """Longest label."""
    max_predictions_waiting: int = Field(512, ge=1)
    """Images that may wait for the network before predictions are answered with 503."""
    predictions_kept: int = Field(10_000, ge=1, le=1_000_000)
    """Answers that can be asked for again by id, or be given a label; the oldest go first."""
    predictions_bytes: int = Field(256 * MIB, ge=1024)
    """Bytes of kept answers with their pixels; the oldest go first."""
    predictions_ttl_s: float = Field(7 * 24 * 3600.0, gt=0)
    """Longest time that an answer and its pixels are kept, and so that a label may come later."""
    predictions_pixels: bool = True
    """Keep the pixels of answers; without them a later label only scores the answer."""
    decoders: int = Field(2, ge=1, le=64)
    """Processes that decode picture files; more of them help where pictures are many and cores
    free."""
    decoder_bytes: int = Field(0, ge=0)
    """Most memory that one of them may take; 0 is enough for every picture that is taken: 128 MiB,
    4 times `max_image_bytes` and 32 bytes for each of `max_image_pixels`."""
    decoder_filter: bool = True
    """Let them make no system call that decoding does not need, where the system can see to that
    (Linux on x86-64 and ARM64)."""
    decode_timeout_s: float = Field(10.0, gt=0, le=600)
    """Longest time that decoding the pictures of one request may take."""
    serve_threads: int = Field(1, ge=1, le=64)
    """Compute threads of torch in the service."""
    version_poll_s: float = Field(0.5, gt=0, le=60)
    """How often the service looks for a newer model version."""
    body_timeout_s: float = Field(30.0, gt=0, le=600)
    """Longest time a request body may take to arrive."""
    head_timeout_s: float = Field(15.0, gt=0, le=600)
    """Longest time from connecting, or from a request's first byte, until its head is there."""
    keep_alive_s: int = Field(15, ge=1, le=600)
    """How long a connection may be idle between two requests before it is closed."""
    send_timeout_s: float = Field(30.0, gt=0, le=600)
    """A connection whose client takes less than `send_bytes_s` of its answer for this long is
    closed (looked at so often, so after twice that at the latest)."""
    send_bytes_s: int = Field(4096, ge=1)
    """Bytes of its answer that a client must take a second, on average over `send_timeout_s`."""
    max_connections: int = Field(800, ge=1, le=100_000)
    """Connections at one moment; on more of them only probes are answered, other requests get 503,
    and 100 above it they are closed at once."""
