"""Who asks, and whether they may: the keys file, read again whenever it changes.

Without a keys file nobody is asked, and the service binds to loopback only.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers

from learndrop.disk.keyring import ROLES, Keyring, made_before, read_keys
from learndrop.errors import BadSettings, DamagedFile, ForeignPage, KeyNeeded
from learndrop.settings import Settings, is_loopback

MOST_NEWS = 100
LOOK_EVERY_S = 1.0
"""A changed keys file is in force after this time at the latest."""

OF_BROWSERS = ("origin", "sec-fetch-site", "accept-language")
"""A browser sends one of these whatever its page wants; the last with every request."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. `name` is empty where no keys are needed; `rate` overrides `key_rate`."""

    name: str
    roles: frozenset[str]
    rate: str = ""

    def may(self, role: str) -> bool:
        """Whether the caller may do what `role` may; an empty role is anybody's with a key."""
        return not role or role in self.roles or "admin" in self.roles


ANYBODY = Caller("", frozenset(ROLES))


class Gate:
    """Knows the keys; asked once by every route that is not open.

    Attributes:
        trouble: why the keys in force are not those of the file; None if they are.
        news: keys that the audit trail has not been told yet, as they were at which time.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the keys file.

        Raises:
            BadSettings: if the file is damaged, or gone since keys were made; or if there is none,
                and others than this machine could reach the service, and `allow_open` does not
                say that they may.
        """
        self._path = settings.keys_path
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._stamp: object = None
        self._looked_s = 0.0
        self._ring: Keyring | None = None
        self.news: deque[tuple[float, Keyring]] = deque(maxlen=MOST_NEWS)
        self._started = False
        self.trouble: str | None = None
        self._read()
        self._started = True
        if self.trouble:
            raise BadSettings(f"LEARNDROP_KEYS_FILE: {self.trouble}")
        if self._ring is None and (made := made_before(self._path)) is not None:
            raise BadSettings(
                f"LEARNDROP_KEYS_FILE: there were keys, and {self._path} is gone: bring it back, or"
                f" make a key (learndrop keys create). To go on without any, remove {made} as well"
            )
        if self._ring is None and not settings.loopback and not settings.allow_open:
            raise BadSettings(
                f"LEARNDROP_HOST {settings.host!r} lets others reach the service, and there are no"
                f" keys in {self._path}: make one (learndrop keys create), bind to 127.0.0.1, or"
                " say with LEARNDROP_ALLOW_OPEN=true that anyone may do anything"
            )

    @property
    def needs_keys(self) -> bool:
        """Whether a key is asked for."""
        return self._ring is not None

    @property
    def told(self) -> str:
        """One line about it, for the log and for /readyz."""
        if self._ring is None:
            return "no keys: whoever reaches this address may do anything"
        return f"keys are required ({len(self._ring.keys)} known)"

    def identify(self, headers: Headers, role: str) -> Caller:
        """Who asks; `role` is what is needed, empty if any key will do: for the error's text.

        Raises:
            KeyNeeded: if there is no key, or none that is known.
            ForeignPage: if no key is needed, and a web page of elsewhere asks.
        """
        self._look()
        if self._ring is None:
            refuse_foreign_page(headers, role, self._hosts)
            return ANYBODY
        needed = f"the role {role!r} is needed" if role else "one of any role is needed"
        secret = given(headers)
        if not secret:
            raise KeyNeeded(f"no key was given; {needed}", role=role or "any")
        key = self._ring.find(secret, time.time())
        if key is None:
            raise KeyNeeded(f"this key is not known (any more); {needed}", role=role or "any")
        return Caller(key.name, key.roles, key.rate)

    def look(self) -> None:
        """Read the keys file if it has changed."""
        self._looked_s = time.monotonic()
        self._read()

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self.look()

    def _read(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        before = self._ring
        try:
            self._ring, self.trouble = read_keys(self._path), None
        except FileNotFoundError:
            # Whoever takes the file away must not open the service by it: the keys stay in force.
            self.trouble = f"the keys file {self._path} is gone" if before else None
        except DamagedFile as exc:
            # Whoever wrote it meant to lock the service: nobody gets in until it is mended.
            self._ring, self.trouble = before or Keyring(), str(exc)
        if self.trouble:
            log.error("keys_not_read", error=self.trouble)
            return
        self.news.append((time.time(), self._ring or Keyring()))
        if self._started and self._ring is not None:
            log.info("keys_read", known=len(self._ring.keys))


def given(headers: Headers) -> str:
    """The key in the headers `Authorization: Bearer` or `X-API-Key`; empty if there is none.

    >>> given(Headers({"authorization": "bearer ld_x"})), given(Headers({"x-api-key": "ld_y"}))
    ('ld_x', 'ld_y')
    >>> given(Headers({"authorization": "Basic YTpi"}))
    ''
    """
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return headers.get("x-api-key", "").strip()


def refuse_foreign_page(headers: Headers, role: str, hosts: frozenset[str] = frozenset()) -> None:
    """A page on the Web may make its reader's browser ask here; it cannot hide that a browser asks.

    The page may have a name of its own lead to this address, and then is of the very site that is
    asked. So a browser must ask by a name that nobody else can give away: a loopback name, an
    address, or one of `hosts`. The page must be of this machine or of the address that is asked.

    Raises:
        ForeignPage: if the request comes from any other page, or by any other name.

    >>> refuse_foreign_page(Headers({"host": "127.0.0.1:8000", "accept-language": "en"}), "read")
    >>> ours = Headers({"host": "a:8000", "origin": "http://a:8000"})
    >>> refuse_foreign_page(ours, "ingest", frozenset({"a"}))
    >>> refuse_foreign_page(Headers({"host": "a:8000"}), "ingest")
    """
    if not any(name in headers for name in OF_BROWSERS):
        return
    host, origin = headers.get("host", ""), headers.get("origin")
    name, _ = _site(f"//{host}")
    if not (_is_address(name) or name in hosts):
        told = (
            f"a browser asks by the name {host[:80]!r}, and no key is needed here; loopback names,"
            " addresses and LEARNDROP_ALLOWED_HOSTS may be asked by"
        )
        raise ForeignPage(told, role=role or "any")
    if origin is None:
        foreign = headers.get("sec-fetch-site") == "cross-site"
    else:
        page, address = _site(origin)
        foreign = not is_loopback(page) and address != host
    if foreign:
        told = f"a web page of {(origin or 'another site')[:80]!r} asks, and no key is needed here"
        raise ForeignPage(told, role=role or "any")


def _site(url: str) -> tuple[str, str]:
    """Name, and name with port, of a URL; empty for what no browser sends."""
    try:
        found = urlsplit(url)
        return found.hostname or "", found.netloc
    except ValueError:
        return "", ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return is_loopback(name)
    return True


def _stamp(path: Path) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
