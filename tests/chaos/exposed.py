"""Row 26: what a stack that nobody has configured shows to others, and what it never does.

`python -m deploy.local` runs as a user that is not root, with one capability at most (to read
the interpreter, where that lies in root's folder). Without keys: where it listens, and whether it
starts anywhere else. With keys and a password for Redis: requests of every kind, right and wrong,
with secrets in the right and the wrong places, a Redis that dies, commands; then every log, answer
and file is searched for the secrets. Each call of pickle in any of these processes is written
down (watched/sitecustomize.py). Each of the three searches must first find what was planted.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import redis

from deploy.children import ROOT
from learndrop.disk import keyring
from tests.chaos.listening import family, is_loopback, listening
from tests.chaos.nobody import PATIENCE_S, Place, answers, running, unprivileged, wait
from tests.rows import Found, arguments, report
from tests.services import NPZ, npz, pixels

SAMPLES = "/v1/samples"
COMMANDS = (
    ["status"], ["settings"], ["settings", "--json"], ["keys", "list"], ["status", "--key", "wrong"]
)  # fmt: skip


# -- where it listens, and as whom it runs ------------------------------------------------------


def beyond_loopback(pids: Sequence[int]) -> tuple[int, list[str]]:
    """How many addresses these listen at, and which of them others reach."""
    places = [place for pid in pids for place in listening(pid)]
    return len(places), [f"{a} port {p}" for a, p in places if not is_loopback(a)]


def not_nobody(pids: Sequence[int]) -> list[str]:
    """Of these processes what is more than an ordinary user's."""
    wrong = []
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        allowed = 1 << 2 if os.geteuid() == 0 else 0  # CAP_DAC_READ_SEARCH
        if "0" in status["Uid"].split() or int(status["CapEff"], 16) & ~allowed:
            wrong.append(f"process {pid}: uid {status['Uid'].split()}, {status['CapEff'].strip()}")
    return wrong


def starts_elsewhere(folder: Path) -> list[str]:
    """Addresses beyond loopback at which it starts without keys, or fails in another way."""
    wrong = []
    for number, host in enumerate(("0.0.0.0", "::", own_address(), "localhost.localdomain")):
        place = Place(folder / f"host{number}", host=host)
        place.give_away(folder)
        done = place.run("service", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            said, _ = done.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:  # it runs, and should not
            done.kill()
            said, _ = done.communicate()
        if done.returncode != 2 or b"there are no keys" not in said:
            wrong.append(f"{host}: ended with {done.returncode}: {said[-300:]!r}")
    return wrong


def own_address() -> str:
    """An address of this machine that is not loopback; one of the test range where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "192.0.2.1"
        return str(probe.getsockname()[0])


def without_keys(place: Place, folder: Path) -> tuple[str, list[str]]:
    """How many addresses it listens at, and what was wrong."""
    with socket.create_server(("0.0.0.0", 0)):
        if not beyond_loopback([os.getpid()])[1]:
            return "", ["an open port that was planted was not found"]
    place.give_away(folder)
    with running(place) as stack:
        with httpx2.Client(base_url=place.url, timeout=30.0) as http:
            body = npz(images=pixels(64), labels=[n % 2 for n in range(64)])
            assert http.post(SAMPLES, content=body, headers=NPZ).status_code == 202
            wait(lambda: http.get("/v1/models").json()["serving"] is not None, stack)
            predicts = http.post("/v1/predictions", content=npz(images=pixels(2)), headers=NPZ)
            assert predicts.status_code == 200, predicts.text
        pids = family(stack.pid)
        number, open_to_others = beyond_loopback(pids)
        wrong = [f"others reach {one}" for one in open_to_others] + not_nobody(pids)
    wrong += [f"without keys it starts at {one}" for one in starts_elsewhere(folder)]
    return f"{number} addresses of {len(pids)} processes", wrong


# -- secrets ------------------------------------------------------------------------------------


def make_keys(data: Path) -> dict[str, str]:
    """A key for each role, and one that was changed; their secrets by name."""
    path = data / "keys.json"
    made = {role: keyring.create(path, f"key-of-{role}", [role]) for role in keyring.ROLES}
    made["old"] = keyring.create(path, "rotated", ["read"])
    made["new"] = keyring.rotate(path, "rotated", 3600.0)
    return made


def misuse(http: httpx2.Client, known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Requests of every kind, with each secret in right and wrong places: what was sent, answer."""
    body = npz(images=pixels(2), labels=["a", "b"])
    told = []

    def ask(method: str, path: str, secret: str, **options: Any) -> None:
        answer = http.request(method, path, **options)
        told.append((secret if secret in path else "", answer.text + str(answer.headers)))

    for secret in known.values():
        for headers in (
            {"authorization": f"Bearer {secret}"},
            {"x-api-key": secret},
            {"authorization": f"Basic {secret}"},
            {"authorization": secret},
            {"cookie": f"key={secret}"},
            {"x-api-key": secret + "x"},
            {"authorization": f"Bearer {secret}", "origin": f"http://{secret}.example"},
            {"authorization": f"Bearer {secret}", "Idempotency-Key": secret},
            {"authorization": f"Bearer {secret}", "X-Request-ID": "a-b"},
        ):
            ask("POST", SAMPLES, secret, content=body, headers={**NPZ, **headers})
            ask("POST", SAMPLES, secret, content=b"no archive", headers={**NPZ, **headers})
            ask("POST", "/v1/predictions", secret, content=body, headers={**NPZ, **headers})
            for path in ("/v1/state", "/v1/audit", "/metrics", "/readyz", "/v1/dead-letters"):
                ask("GET", path, secret, headers=headers)
            ask("GET", f"/v1/state?key={secret}&events={secret}", secret, headers=headers)
            ask("GET", f"/v1/samples/{secret}", secret, headers=headers)
            ask(
                "DELETE",
                f"/v1/dead-letters?reason=unreadable&key={secret}",
                secret,
                headers=headers,
            )
    return told


def found_in(texts: Mapping[str, bytes], known: Sequence[str]) -> list[str]:
    """Names of the texts that hold one of the secrets."""
    return [name for name, text in texts.items() if any(s.encode() in text for s in known)]


def with_keys(place: Place, folder: Path) -> tuple[str, list[str]]:
    """What was searched, and what was wrong."""
    known = make_keys(place.data)
    password = "pw-" + secrets.token_urlsafe(24)
    place.environment |= {
        "LEARNDROP_REDIS_USER": "default",
        "LEARNDROP_REDIS_PASSWORD": password,
        "LEARNDROP_API_KEY": known["admin"],
    }
    everything = [*known.values(), password]
    place.give_away(folder)
    wrong: list[str] = []
    with running(place) as stack:
        admin = {"x-api-key": known["admin"]}
        pids = family(stack.pid)
        wrong += not_nobody(pids)
        port = next(p for pid in pids for _, p in listening(pid) if _is_redis(pid))
        with redis.Redis(port=port) as hand:  # from now on others need the password
            hand.execute_command("ACL", "SETUSER", "default", "resetpass", f">{password}")
        with httpx2.Client(base_url=place.url, timeout=30.0) as http:
            told = misuse(http, known)
            wait(lambda: http.get("/readyz").status_code == 200, stack)
            for command in (*COMMANDS, ["status", "--key", known["read"]]):
                done = place.run(
                    "learndrop.cli", *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
                told.append(("", done.communicate(timeout=PATIENCE_S)[0].decode()))
            with redis.Redis(port=port, username="default", password=password) as hand:
                hand.execute_command("ACL", "SETUSER", "default", "resetpass", ">another")
                hand.client_kill_filter(_type="normal", skipme=True)
            told += misuse(http, {"read": known["read"]})  # the service is refused by Redis
            with redis.Redis(port=port, username="default", password="another") as hand:
                hand.execute_command("ACL", "SETUSER", "default", "resetpass", f">{password}")
            wait(lambda: answers(f"{place.url}/readyz"), stack)
            said = http.get("/v1/state", headers=admin)
            wrong += [] if said.status_code == 200 else [f"not well again: {said.text[:200]}"]
    answers_ = {
        f"answer {n}": text.replace(sent, "").encode() if sent else text.encode()
        for n, (sent, text) in enumerate(told)
    }
    files = {str(f): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f != place.calls}
    logs = {name: text for name, text in files.items() if name.endswith(".log")}
    if not found_in({"planted": f"x {password} y".encode()}, everything):
        wrong.append("a secret that was planted was not found")
    if not any(b"key-of-admin" in text for text in logs.values()):
        wrong.append("the logs do not even name the key of an admin's action")
    wrong += [f"a secret is in {name}" for name in found_in(files | answers_, everything)]
    lines = sum(text.count(b"\n") for text in logs.values())
    return (
        f"{len(everything)} secrets searched in {lines} log lines, {len(answers_)} answers and"
        f" {len(files)} files",
        wrong,
    )


def _is_redis(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    return b"valkey-server" in command or b"redis-server" in command  # it tells its port there too


# -- pickle -------------------------------------------------------------------------------------


def planted_pickle_is_heard(folder: Path) -> bool:
    """Whether a call in a watched process is written down, and one around pickle's names too."""
    place = Place(folder)
    place.give_away(folder)
    around = "import _pickle, collections; _pickle.loads(_pickle.dumps(collections.OrderedDict()))"
    for code in ("import pickle; pickle.loads(pickle.dumps(1))", around):
        command = [*unprivileged(), sys.executable, "-c", code]
        subprocess.run(command, cwd=ROOT, env=place.environment, check=True)
    told = place.calls.read_text()
    return "loads in" in told and "dumps in" in told and "pickle.find_class" in told


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Without keys, then with them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        wrong = []
        if not planted_pickle_is_heard(folder / "planted"):
            wrong.append("a call of pickle that was planted was not heard")
        plain = Place(folder / "open" / "stack")
        listens, bad = without_keys(plain, folder / "open")
        keyed = Place(folder / "keyed")
        searched, worse = with_keys(keyed, folder / "keyed")
        calls = [line for p in (plain, keyed) for line in p.calls.read_text().splitlines()]
    wrong += [*bad, *worse, *calls[:5]]
    return {
        26: Found(
            f"loopback only: {not bad}; {len(calls)} calls of pickle; not root; secrets found:"
            f" {sum('a secret is in' in one for one in worse)}",
            f"{listens}; {searched}",
            not wrong,
            "; ".join(wrong)
            or "As user 10001, with no capability but to read. What was planted was found: an open"
            " port, a secret, two calls of pickle.",
        )
    }


if __name__ == "__main__":
    sys.exit(report(find, arguments(__doc__), rows=[26]))
