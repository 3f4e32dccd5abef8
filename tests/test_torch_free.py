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
     "learndrop.bench.plans", "learndrop.bench.command", "worker.__main__", "worker.loop",
     "tests.tiny_worker"],
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


def test_answering_and_learning_with_a_network_of_our_own_leave_what_is_slow_out() -> None:
    """torch's compiler and what pulls it in, scikit-learn: 160 MiB and seconds at every start."""
    code = (
        "import sys, service.model, learndrop.learner as learner;"
        "from learndrop.datasets import load; from learndrop.messages import Sample;"
        "from learndrop.settings import Settings;"
        "data = load('digits', 32, 16);"
        "samples = [Sample(i, l, 0.0) for i, l in zip(data.images, data.labels)];"
        "made = learner.Learner(Settings(network='small-resnet10'));"
        "made.learn(samples); made.learn(samples); made.export();"
        "print(*sorted({'torchvision', 'torch._dynamo', 'sympy', 'scipy', 'sklearn', 'river.drift'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "" and done.returncode == 0, done.stderr
