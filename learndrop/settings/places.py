"""Settings that say where things are."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from learndrop.settings.group import Group


class Places(Group):
    """The data folder and Redis."""

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
    redis_connections: int = Field(64, ge=1, le=10_000)
    """Most connections of the service to Redis at once; what needs one more waits for it."""
