"""Create the virtual environment that a make target needs, once: `environment.py VENV extra ...`.

Standard library only: it runs before anything is installed. A torch with torchvision that this
interpreter already has, or that VENV has, is kept. The second call finds its own stamp (a hash of
what the environment was made from) and returns at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MADE_FROM = ("pyproject.toml", "constraints.txt", "deploy/environment.py")
OLDEST = (3, 11)
TORCH = ("torch", "torchvision")
OLDEST_TORCH = {"torch": (2, 11), "torchvision": (0, 26)}  # as pyproject.toml asks

LOOK = """
import json, sys, torch, torchvision  # imported: a torchvision for another torch fails here
from importlib.metadata import version
folders = [p for p in sys.path if p.rstrip("/").endswith(("site-packages", "dist-packages"))]
versions = {name: version(name) for name in ("torch", "torchvision")}  # as pip names them
print(json.dumps({"versions": versions, "folders": folders}))
"""


def fingerprint(root: Path = ROOT) -> str:
    """Hash of the files that decide what gets installed."""
    parts = b"\0".join((root / name).read_bytes() for name in MADE_FROM)
    return hashlib.sha256(parts + sys.version.encode()).hexdigest()


def torch_of(python: Path | str) -> dict[str, dict[str, str] | list[str]] | None:
    """Versions of torch and torchvision that `python` imports, and its package folders; or None."""
    told = subprocess.run([str(python), "-c", LOOK], capture_output=True, text=True, cwd="/")
    if told.returncode != 0:
        return None
    found: dict[str, dict[str, str] | list[str]] = json.loads(told.stdout.splitlines()[-1])
    return found


def new_enough(versions: dict[str, str]) -> bool:
    """Whether both are releases that the project supports.

    >>> new_enough({"torch": "2.14.1+cpu", "torchvision": "0.29.1"})
    True
    >>> new_enough({"torch": "2.4.0", "torchvision": "0.19.0"})
    False
    """
    return all(
        tuple(int(n) for n in versions[name].split(".")[:2]) >= OLDEST_TORCH[name] for name in TORCH
    )


def pins(constraints: str, kept: dict[str, str]) -> str:
    """The constraints, with the kept torch in place of the pinned one.

    >>> pins("numpy==2.4.6\\ntorch==2.14.1\\n", {"torch": "2.13.0+cpu"})
    'numpy==2.4.6\\ntorch==2.13.0+cpu\\n'
    """
    lines = []
    for line in constraints.splitlines():
        name = line.partition("==")[0]
        lines.append(f"{name}=={kept[name]}" if name in kept else line)
    return "\n".join(lines) + "\n"


class Environment:
    """The virtual environment in `folder` and its stamp."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder, self.root = folder, root
        self.python = folder / "bin" / "python"
        self.stamp = folder / "learndrop-ready.json"

    def installed(self) -> set[str]:
        """Extras that were installed from the present files; empty when something changed."""
        try:
            stamp = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return set()
        return set(stamp["extras"]) if stamp["made_from"] == fingerprint(self.root) else set()

    def ensure(self, extras: set[str]) -> None:
        """Install `extras` unless that was done; exits with one line when it cannot be done."""
        before = self.installed()
        if extras <= before and self.python.exists():
            return
        if not self.python.exists():
            self._create()
        wanted = sorted(extras | before)
        found = torch_of(self.python) if {"service", "worker"} & set(wanted) else None
        kept = found["versions"] if found else {}
        assert isinstance(kept, dict)
        if kept and not new_enough(kept):
            kept = {}
        constraints = self.folder / "constraints.txt"
        constraints.write_text(pins((self.root / "constraints.txt").read_text(), kept))
        if {"service", "worker"} & set(wanted):
            print(f"-- keeping torch {kept['torch']}" if kept else TORCH_COMES, flush=True)
        print(f"-- installing learndrop[{','.join(wanted)}] into {self.folder}", flush=True)
        command = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check"]
        command += ["--quiet", "--no-input", "--no-compile", "-c", str(constraints)]
        self._run([*command, "-e", f"{self.root}[{','.join(wanted)}]"], "pip could not install it")
        self._compile()
        self.stamp.write_text(json.dumps({"made_from": fingerprint(self.root), "extras": wanted}))

    def _create(self) -> None:
        print(f"-- creating {self.folder} with Python {sys.version.split()[0]}", flush=True)
        self._run(
            [sys.executable, "-m", "venv", str(self.folder)],
            "the venv could not be made (on Debian and Ubuntu: apt install python3-venv)",
        )
        found = torch_of(sys.executable)
        if found and isinstance(found["versions"], dict) and new_enough(found["versions"]):
            # A .pth file, not --system-site-packages: that would not see the torch of an
            # environment that is active now, only that of the Python beneath it.
            for target in self.folder.glob("lib/python*/site-packages"):
                (target / "learndrop-kept-torch.pth").write_text("\n".join(found["folders"]) + "\n")

    def _compile(self) -> None:
        """Compile what pip installed, on all cores: it would compile 12,000 files one by one.

        Left to the first import, every process would compile all that it imports where
        PYTHONDONTWRITEBYTECODE is set. Some packages have files for other versions of Python;
        those are passed over, as pip does.
        """
        folders = map(str, self.folder.glob("lib/python*/site-packages"))
        command = [str(self.python), "-m", "compileall", "-qq", "-j", "0", *folders]
        subprocess.run(command, capture_output=True)

    @staticmethod
    def _run(command: list[str], failed: str) -> None:
        if subprocess.run(command).returncode != 0:
            sys.exit(f"error: {failed}")


TORCH_COMES = (
    "-- installing torch and torchvision: about 2 minutes; on Linux x86_64 PyPI's build brings CUDA"
    " and takes 5.5 GB (a torch that is installed already is kept instead)"
)


def main(arguments: list[str]) -> None:
    if sys.version_info < OLDEST:
        sys.exit(
            f"error: Python {'.'.join(map(str, OLDEST))} or newer is needed, this is "
            f"{sys.version.split()[0]}: make PYTHON=python3.11 ..."
        )
    if not arguments:
        sys.exit("usage: environment.py VENV [extra ...]")
    os.environ.setdefault("PYTHONUTF8", "1")
    Environment(Path(arguments[0]).absolute()).ensure(set(arguments[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
