"""API keys at rest: names, roles and the SHA-256 of their secrets, in one JSON file.

A secret is 32 random bytes, so its plain hash cannot be guessed back; it is told once, when it is
made, and stored nowhere. A name may have several secrets for a while: that is how one is changed
without a moment in which neither works.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import orjson

from learndrop.disk.files import make_folder, write_atomic
from learndrop.errors import BadInput, DamagedFile, NotFound, UnknownFileFormat
from learndrop.settings import RATE

FORMAT = 1
ROLES = ("ingest", "predict", "read", "admin")
"""What a key may do; `admin` may do everything."""
PREFIX = "ld_"
"""Begins every secret, so that a search for leaked ones finds it."""
LONGEST = 256
"""Characters of what may be given as a secret; longer ones are none of ours."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a key: its hash, and the unix time at which it ends (None: never)."""

    digest: str
    created_s: float
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who may do what. `rate` overrides the setting `key_rate`; empty means that one."""

    name: str
    roles: frozenset[str]
    secrets: tuple[Secret, ...]
    rate: str = ""

    def may(self, role: str) -> bool:
        """Whether this key may do what `role` may."""
        return role in self.roles or "admin" in self.roles

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        kept = [
            {"sha256": s.digest, "created_s": s.created_s, "until_s": s.until_s}
            for s in self.secrets
        ]
        roles = [role for role in ROLES if role in self.roles]
        return {"name": self.name, "roles": roles, "rate": self.rate, "secrets": kept}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Read it; KeyError, TypeError or ValueError if it is none."""
        name, roles = checked_name(told["name"]), frozenset(checked_roles(told["roles"]))
        kept = []
        for one in told["secrets"]:
            until_s = one["until_s"]
            if not _DIGEST.fullmatch(one["sha256"]):
                raise ValueError("sha256 is no SHA-256")
            ends_s = None if until_s is None else float(until_s)
            kept.append(Secret(one["sha256"], float(one["created_s"]), ends_s))
        return cls(name, roles, tuple(kept), checked_rate(told.get("rate", "")))


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys of one file."""

    keys: tuple[ApiKey, ...] = ()

    def find(self, secret: str, now_s: float) -> ApiKey | None:
        """The key of a secret; every hash is compared, in a time that does not tell which fits."""
        if len(secret) > LONGEST:
            return None
        digest, found = hashed(secret), None
        for key in self.keys:
            for one in key.secrets:
                same = hmac.compare_digest(one.digest, digest)
                if same and (one.until_s is None or now_s < one.until_s):
                    found = key
        return found

    def get(self, name: str) -> ApiKey:
        """The key of that name.

        Raises:
            NotFound: if there is none.
        """
        for key in self.keys:
            if key.name == name:
                return key
        raise NotFound(f"no key is called {name[:80]!r}")


def prints(ring: Keyring) -> dict[str, str]:
    """A hash of each key by its name: equal if name, roles, rate and secrets are."""
    return {
        key.name: hashlib.sha256(orjson.dumps(key.to_json())).hexdigest()[:32] for key in ring.keys
    }


def hashed(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def checked_name(name: str) -> str:
    """The name of a key.

    Raises:
        BadInput: if it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        told = f"key name {str(name)[:80]!r}: up to 64 letters, digits, dots, dashes, underscores"
        raise BadInput(told, item="name", value=str(name)[:80])
    return name


def checked_roles(roles: Sequence[str]) -> list[str]:
    """Roles of a key.

    Raises:
        BadInput: if there is none, or an unknown one.
    """
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        told = f"role {str(unknown[0])[:80]!r} is unknown" if unknown else "a key needs a role"
        raise BadInput(f"{told}: {', '.join(ROLES)}", item="role", limit=list(ROLES))
    return list(roles)


def checked_rate(rate: str) -> str:
    """A key's own rate; empty for the one of the settings.

    Raises:
        BadInput: if it is none.

    >>> checked_rate("100/minute")
    '100/minute'
    """
    if rate and not re.fullmatch(RATE, rate):
        told = f"rate {str(rate)[:80]!r}: write 100/minute (second, minute, hour, day)"
        raise BadInput(told, item="rate", value=str(rate)[:80])
    return rate


def read_keys(path: Path) -> Keyring:
    """Read the file.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFile: if it cannot be read, or is no file of keys.
        UnknownFileFormat: if a newer learndrop wrote it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise DamagedFile(f"the keys file {path} cannot be read: {exc.strerror}") from exc
    try:
        told = orjson.loads(data)
        if told["format"] != FORMAT:
            raise UnknownFileFormat(f"the keys file {path} has format {told['format']!r}")
        keys = tuple(ApiKey.from_json(one) for one in told["keys"])
        if len({key.name for key in keys}) != len(keys):
            raise ValueError("a name is there twice")
    except (KeyError, TypeError, ValueError, BadInput) as exc:
        # The text of the error, never that of the file: somebody may have put a secret into it.
        raise DamagedFile(f"the keys file {path} is no file of keys: {type(exc).__name__}") from exc
    return Keyring(keys)


def made_before(path: Path) -> Path | None:
    """What says that keys were made here, whether or not the file is there still; None if never."""
    lock = _lock_of(path)
    return lock if lock.exists() else None


def create(path: Path, name: str, roles: Sequence[str], rate: str = "") -> str:
    """Make a key, and the file if there is none; returns the secret, which is stored nowhere.

    Raises:
        BadInput: a name, a role or a rate that cannot be, or a name that is taken.
        DamagedFile: if the file cannot be read.
    """
    checked_name(name)
    checked_roles(roles)
    checked_rate(rate)
    secret, made = _new_secret()

    def added(ring: Keyring) -> Keyring:
        if any(key.name == name for key in ring.keys):
            raise BadInput(f"a key is called {name!r} already; `rotate` changes it", item="name")
        return Keyring((*ring.keys, ApiKey(name, frozenset(roles), (made,), rate)))

    _change(path, added)
    return secret


def rotate(path: Path, name: str, grace_s: float) -> str:
    """Give a key a new secret; the one before works for `grace_s` more seconds.

    Raises:
        NotFound: if there is no such key.
        DamagedFile: if the file cannot be read.
    """
    _refuse_missing(path, name)
    secret, made = _new_secret()

    def turned(ring: Keyring) -> Keyring:
        key, now_s = ring.get(name), time.time()
        ends = [
            replace(s, until_s=min(s.until_s or now_s + grace_s, now_s + grace_s))
            for s in key.secrets
            if s.until_s is None or s.until_s > now_s
        ]
        return _without(ring, name, replace(key, secrets=(*ends, made)))

    _change(path, turned)
    return secret


def revoke(path: Path, name: str) -> None:
    """Take a key away, at once and for good.

    Raises:
        NotFound: if there is no such key.
        DamagedFile: if the file cannot be read.
    """

    _refuse_missing(path, name)

    def taken(ring: Keyring) -> Keyring:
        ring.get(name)
        return _without(ring, name)

    _change(path, taken)


def _refuse_missing(path: Path, name: str) -> None:
    """Where no keys were made there must be no lock either: it says that there were some."""
    if not path.exists():
        Keyring().get(name)


def _new_secret() -> tuple[str, Secret]:
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Secret(hashed(secret), round(time.time(), 3))


def _without(ring: Keyring, name: str, *instead: ApiKey) -> Keyring:
    return Keyring((*(key for key in ring.keys if key.name != name), *instead))


def _change(path: Path, change: Callable[[Keyring], Keyring]) -> None:
    make_folder(path.parent)
    with _alone(path):
        try:
            ring = read_keys(path)
        except FileNotFoundError:
            ring = Keyring()
        told = {"format": FORMAT, "keys": [key.to_json() for key in change(ring).keys]}
        write_atomic(path, orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One writer at a time: two that read the same file would undo each other's change."""
    lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
