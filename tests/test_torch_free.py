"""What takes samples in, and what sends them, starts without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.children import ROOT


@pytest.mark.parametrize(
    "module",
    ["service.routes.samples", "service.routes.predictions", "service.serving", "service.app",
     "service.decoder",
     "learndrop.client", "learndrop.stream", "learndrop.board", "learndrop.answers",
     "learndrop.registry", "learndrop.pictures", "learndrop.settings", "learndrop.cli",
     "learndrop.bench.plans", "learndrop.bench.command", "worker.__main__"],
)  # fmt: skip
def test_importing_it_leaves_torch_out(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_client_needs_nothing_of_the_service() -> None:
    """The wheel holds only learndrop, and installs without its extras."""
    code = (
        "import sys, learndrop.client;"
        "print(*sorted({m.split('.')[0] for m in sys.modules}"
        " & {'service', 'worker', 'deploy', 'fastapi', 'redis', 'PIL', 'torch', 'river'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "" and done.returncode == 0


def test_a_decoder_needs_nothing_but_what_decodes() -> None:
    """What is there when a stranger's picture goes wrong; and there is a process of it for each."""
    code = (
        "import sys, service.decoder;"
        "print(*sorted({m.split('.')[0] for m in sys.modules}"
        " & {'asyncio', 'fastapi', 'orjson', 'pydantic', 'redis', 'starlette', 'structlog'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "" and done.returncode == 0


def test_answering_with_a_network_of_our_own_leaves_torchvision_out() -> None:
    """With torch's compiler, which it pulls in, it is 160 MiB and seconds at every start."""
    code = (
        "import sys, service.model, learndrop.networks;"
        "learndrop.networks.build('small-resnet10', 10, image_size=16);"
        "sys.exit('torchvision' in sys.modules or 'torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
