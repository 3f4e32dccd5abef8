"""Every knob of learndrop, with default, unit and meaning; the only reader of the environment.

A setting `x_y` is read from LEARNDROP_X_Y. Sizes end in `_bytes`, durations in `_s`.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from learndrop.errors import BadSettings

MIB = 1024 * 1024
RATE = r"[1-9]\d{0,8} ?/ ?(second|minute|hour|day)"
"""How a rate is written: so many requests in such a time."""


class Settings(BaseSettings):
    """One frozen object that wires a process; nothing below `__main__` reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix="LEARNDROP_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    # -- where things are ------------------------------------------------------------------
    name: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """Name of this model: prefix of its keys in Redis and label of its metrics."""
    data_dir: Path = Path("data")
    """Folder of checkpoints, model versions and (embedded) Redis data; shared by both processes."""
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Where the stream is; may hold a password, so it is never logged."""
    redis_user: str = ""
    """User of the server's access list (ACL), if not in the URL."""
    redis_password: SecretStr = SecretStr("")
    """Password of that user, if not in the URL."""
    redis_password_file: Path | None = None
    """File that holds the password instead, as secrets are mounted into containers."""
    redis_ca: Path | None = None
    """Certificates that a rediss:// server's must be signed by; otherwise the system's."""
    redis_timeout_s: float = Field(5.0, gt=0, le=60)
    """Longest wait for one answer of Redis."""

    # -- service ---------------------------------------------------------------------------
    host: str = "127.0.0.1"
    """Address the service binds to."""
    port: int = Field(8000, ge=1, le=65535)
    """Port of the service."""
    keys_file: str = ""
    """File of API keys (`learndrop keys`); empty is keys.json in `data_dir`."""
    allow_open: bool = False
    """Without keys, bind to an address that others reach all the same: anyone may do anything."""
    key_rate: str = Field("", pattern=rf"^({RATE})?$")
    """Requests that one key may make, as 600/minute, in each service process; empty is no limit."""
    audit_kept: int = Field(1000, ge=1, le=1_000_000)
    """Actions of admins kept for GET /v1/audit; the oldest go first (the log has them all)."""
    api_key: SecretStr = SecretStr("")
    """What the command line shows to a service that asks for a key."""
    max_body_bytes: int = Field(32 * MIB, ge=1024, le=1024 * MIB)
    """Largest request body, also counted while a chunked body arrives."""
    max_bodies_bytes: int = Field(256 * MIB, ge=1024)
    """Bytes of all request bodies held at one moment before more are answered with 503."""
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
    decode_threads: int = Field(1, ge=1, le=64)
    """Threads that turn request bodies into pictures; more of them help where these are large."""
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

    # -- stream ----------------------------------------------------------------------------
    max_pending: int = Field(50_000, ge=1)
    """Accepted samples that may wait to be learned before the service answers 429."""
    max_pending_bytes: int = Field(512 * MIB, ge=1024)
    """Bytes of pixels that may wait to be learned before the service answers 429."""
    key_share: float = Field(0.9, gt=0, le=1)
    """Share of the waiting samples that one API key may hold alone; several have equal parts."""
    idempotency_ttl_s: float = Field(86_400.0, ge=1)
    """How long a batch with an Idempotency-Key is remembered: it is not taken again."""
    idempotency_kept: int = Field(50_000, ge=1)
    """Most batches that are remembered so; the oldest go first."""
    sample_ids_kept: int = Field(100_000, ge=1)
    """Newest `ids` of senders that are known again: such a sample is not taken again."""
    max_deliveries: int = Field(3, ge=1, le=100)
    """Times an entry may be in hand when the worker dies before it is buried."""
    dead_letters_kept: int = Field(1000, ge=1, le=1_000_000)
    """Buried entries kept for inspection; the oldest go first (they stay counted)."""
    dead_letters_ttl_s: float = Field(30 * 24 * 3600.0, gt=0)
    """Longest time that a buried entry is kept (it stays counted)."""
    fsync: Literal["always", "everysec"] = "always"
    """What Redis must have as appendfsync; `everysec` may lose a second of accepted samples."""
    redis_memory_bytes: int = Field(2048 * MIB, ge=16 * MIB)
    """Memory limit that `make up` and docker-compose.yml give to Redis."""
    memory_near: float = Field(0.85, gt=0, lt=1)
    """Share of its memory limit from which on Redis counts as nearly full."""
    fates_kept: int = Field(1_000_000, ge=1, le=1_000_000_000)
    """Ended samples whose fate can be asked for by id (19 bytes of Redis each); the oldest go."""
    events_kept: int = Field(500, ge=10, le=10_000)
    """Events (drop, drift, reset, publish, ...) kept for the state."""

    # -- worker ----------------------------------------------------------------------------
    consumer: str = Field("worker-1", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Stable name of the worker in the consumer group."""
    metrics_host: str = "127.0.0.1"
    """Address the worker's /metrics binds to."""
    metrics_port: int = Field(8001, ge=1, le=65535)
    """Port of the worker's /metrics and /healthz."""
    batch: int = Field(32, ge=1, le=4096)
    """Arriving samples in one training step."""
    batch_wait_s: float = Field(0.5, ge=0, le=60)
    """How long a batch may wait to fill before a smaller one is learned."""
    lease_s: float = Field(3.0, ge=0.3, le=600)
    """A worker that leads and is silent for this long is taken over by one that stands by."""
    on_gap: Literal["wait", "go_on"] = "wait"
    """When the stream lacks what the checkpoint has, or the checkpoint what was acknowledged."""
    stall_s: float = Field(120.0, gt=0)
    """Without progress of the worker for this long (a step that hangs), its /healthz says 503;
    after twice that it ends itself, to be started again."""
    worker_threads: int = Field(0, ge=0, le=256)
    """Compute threads of torch in the worker; 0 takes the cores this process may use."""
    checkpoint_s: float = Field(30.0, gt=0)
    """Seconds between checkpoints; entries are acknowledged after the checkpoint that has them."""
    checkpoints_kept: int = Field(2, ge=1, le=100)
    """Checkpoints kept on disk."""
    publish_s: float = Field(5.0, ge=0)
    """Shortest time between two published model versions (a drop or a reset does not wait)."""
    versions_kept: int = Field(8, ge=2, le=1000)
    """Model versions kept on disk."""

    archive_bytes: int = Field(0, ge=0)
    """Bytes of learned samples kept for `learndrop replay`; the oldest go first, 0 keeps none."""

    # -- network ---------------------------------------------------------------------------
    network: str = "small-resnet10"
    """`small-resnet10`, `small-resnet18` (ours, for small images), a torchvision classifier, or
    `timm:NAME` where timm is installed."""
    weights: str = ""
    """First weights: empty for random, a .safetensors file, or `torchvision` for its own."""
    image_size: int = Field(32, ge=8, le=1024)
    """Side of the square that every picture becomes, in pixels."""
    pixel_mean: tuple[float, float, float] = (125.0, 123.0, 114.0)
    """Subtracted from R, G, B (0 to 255)."""
    pixel_std: tuple[float, float, float] = (63.0, 62.0, 66.0)
    """Divides R, G, B after the mean is taken off."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How a picture that is not square becomes one: centre crop, black bars, or distortion."""
    classes: tuple[str, ...] = ()
    """Labels in a fixed order, as a JSON list; others are added as they arrive."""
    max_classes: int = Field(1000, ge=2, le=100_000)
    """Labels the head may grow to; a sample with one more is buried."""

    # -- learning --------------------------------------------------------------------------
    rate: float = Field(0.005, gt=0, le=10)
    """Learning rate right after the start and after a drift."""
    rate_floor: float = Field(0.1, gt=0, le=1)
    """Share of `rate` that it falls to as the units settle."""
    rate_halving: int = Field(2000, ge=1)
    """Samples after which the rate is half of `rate`."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(5e-4, ge=0, le=1)
    """Weight decay of SGD, for units in training."""
    clip_norm: float = Field(5.0, gt=0)
    """Gradients are scaled down to this global norm."""
    loss_limit: float = Field(30.0, gt=0)
    """A step with a larger mean cross-entropy is not taken; three of eight are an explosion."""
    compile: bool = False
    """Compile what is in training with torch.compile, anew for each cut (seconds, for each)."""
    replays: Literal["auto", "0", "1", "2", "3", "5", "7"] = "auto"
    """Replayed samples for each arriving one; `auto` replays in ordered or young worlds."""
    replay_samples: int = Field(4096, ge=1, le=10_000_000)
    """Most raw samples in the replay buffer."""
    replay_bytes: int = Field(64 * MIB, ge=1)
    """Most bytes of raw pixels in the replay buffer."""
    replay_max_age_s: float = Field(0.0, ge=0)
    """Longest time that a raw sample stays in replay buffer and archive; 0 sets no age."""
    erase_within_s: float = Field(600.0, ge=10)
    """Time after a deletion (or the age above) within which no checkpoint holds the image."""
    old_world_weight: float = Field(0.1, ge=0, le=1)
    """Chance, against 1, that a sample from before the last drift is replayed."""
    feature_bytes: int = Field(128 * MIB, ge=0)
    """Budget of the stored feature maps; never passed."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of a training step; `auto` measures both at start."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Layout of images and weights; `auto` measures both at start."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA when there is one."""
    seed: int = 0
    """Seed of weights, replay and probes."""

    # -- dropping and drift ----------------------------------------------------------------
    drop: bool = True
    """False trains every unit for ever (the plain control)."""
    window: int = Field(8, ge=4, le=10_000)
    """Steps between two readings of the scores."""
    warmup_windows: int = Field(1, ge=0)
    """Windows after a start or a drift in which nothing is dropped."""
    settled_windows: int = Field(2, ge=1, le=100)
    """Windows in a row a unit must score low to count as learned."""
    persistence_low: float = Field(0.4, gt=0, le=1)
    """A unit wanders instead of learning when its persistence (-1 to 1) is at most this."""
    keep_units: int = Field(1, ge=1)
    """Last units that are never dropped."""
    drift_delta: float = Field(0.002, gt=0, lt=1)
    """Confidence of ADWIN on the test-then-train error; smaller means fewer alarms."""
    drift_cooldown: int = Field(512, ge=0)
    """Samples after a drift in which no second one is declared."""
    recovery_samples: int = Field(1024, ge=1)
    """Samples after which a reset that did not help is followed by a stronger one."""
    accuracy_window: int = Field(512, ge=16)
    """Samples over which the present prequential accuracy is taken."""

    # -- whom to believe -------------------------------------------------------------------
    max_key_share: float = Field(0.9, gt=0, le=1)
    """Most of a batch that is trained on for one API key while several send; 1 is no bound."""
    quarantine_share: float = Field(0.1, ge=0, le=1)
    """Of keys whose labels are not believed, so much of what others send is trained on."""
    reserve_samples: int = Field(256, ge=0, le=100_000)
    """Older samples on which a version is measured before it is published; 0 measures none."""
    rollback_fall: float = Field(0.1, gt=0, le=1)
    """A fall of the accuracy on the reserve by more than this brings the last good version back."""
    rollback_cooldown: int = Field(2048, ge=0)
    """Samples after a return to an earlier version in which there is no second one."""

    # -- logs ------------------------------------------------------------------------------
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe line that is logged."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""

    @property
    def keys_path(self) -> Path:
        """The file of API keys; it need not exist."""
        return Path(self.keys_file) if self.keys_file else self.data_dir / "keys.json"

    @property
    def loopback(self) -> bool:
        """Whether the service binds to an address that only this machine reaches."""
        return is_loopback(self.host)

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of the worker's checkpoints."""
        return self.data_dir / "checkpoints"

    @property
    def archive_dir(self) -> Path:
        """Folder of learned samples that can be played again."""
        return self.data_dir / "archive"

    @property
    def models_dir(self) -> Path:
        """Folder of the published model versions: the worker writes it, the service reads it."""
        return self.data_dir / "models"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.host not in {"127.0.0.1", "localhost", "::1"} and self.port == self.metrics_port:
            raise ValueError(f"port and metrics_port are both {self.port}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a label twice")
        if len(self.classes) > self.max_classes:
            raise ValueError(f"{len(self.classes)} classes, max_classes is {self.max_classes}")
        if min(self.pixel_std) <= 0:
            raise ValueError("pixel_std must be above 0")
        return self


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; `overrides` win.

    Raises:
        BadSettings: naming each setting, the reason and the value.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as exc:
        told = "; ".join(
            f"LEARNDROP_{'_'.join(str(p) for p in e['loc']).upper() or '*'}: {e['msg']}{_shown(e)}"
            for e in exc.errors(include_url=False)
        )
        raise BadSettings(told) from exc


def _shown(error: ErrorDetails) -> str:
    """The value that is wrong; nothing of several together, nor of one that may be a secret."""
    field = Settings.model_fields.get(str(error["loc"][0])) if error["loc"] else None
    if field is None or field.annotation is SecretStr:
        return ""
    return f" (value {str(error.get('input'))[:80]!r})"


def explained(settings: Settings) -> list[dict[str, object]]:
    """One row a setting: `name`, `variable`, `value`, `default`, `origin` and `meaning`.

    `origin` is `default` or `environment`; a secret that was set is not shown.
    """
    rows: list[dict[str, object]] = []
    for name, field in Settings.model_fields.items():
        given = name in settings.model_fields_set
        value, default = getattr(settings, name), field.default
        if isinstance(value, SecretStr):
            default = default.get_secret_value()
            value = "(hidden)" if given else default
        rows.append(
            {
                "name": name,
                "variable": f"LEARNDROP_{name.upper()}",
                "value": _plain(value),
                "default": _plain(default),
                "origin": "environment" if given else "default",
                "meaning": " ".join((field.description or "").split()),
            }
        )
    return rows


def unknown_variables() -> list[str]:
    """Variables named LEARNDROP_* that are no setting (pydantic-settings passes over them)."""
    known = {f"LEARNDROP_{name.upper()}" for name in Settings.model_fields}
    return sorted(v for v in os.environ if v.startswith("LEARNDROP_") and v.upper() not in known)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
