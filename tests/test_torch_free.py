"""What takes samples in, and what sends them, starts without torch."""

from __future__ import annotations

import subprocess
import sys

from deploy.children import ROOT

MODULES = """
service.routes.samples service.routes.predictions service.answering.serving service.app
service.decoding.decoder learndrop.client learndrop.stream.contract learndrop.server.board
learndrop.answers.kept learndrop.disk.registry learndrop.images.pictures learndrop.settings
learndrop.cli learndrop.bench.plans learndrop.bench.command
worker.__main__ worker.loop tests.tiny_worker
""".split()


def test_importing_them_leaves_torch_out() -> None:
    """In one process: what none of them has brought, none of them brings alone."""
    code = (
        "import sys, importlib;"
        f"print(*(m for m in {MODULES} if importlib.import_module(m)"
        " and {'torch', 'torchvision'} & sys.modules.keys()))"
    )
    told = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert told == "\n"  # else the first is the one that does


def test_the_client_needs_nothing_of_the_service() -> None:
    """The wheel holds only learndrop, and installs without its extras."""
    unwanted = {"service", "worker", "deploy", "fastapi", "redis", "PIL", "torch", "river"}
    assert loaded("import learndrop.client", unwanted) == set()


def test_a_decoder_needs_nothing_but_what_decodes() -> None:
    """What is there when a stranger's picture goes wrong; and there is a process of it for each."""
    unwanted = {"asyncio", "fastapi", "orjson", "pydantic", "redis", "starlette", "structlog"}
    assert loaded("import service.decoding.decoder", unwanted) == set()


def test_answering_and_learning_with_a_network_of_our_own_leave_what_is_slow_out() -> None:
    """torch's compiler and what pulls it in, scikit-learn: 160 MiB and seconds at every start."""
    code = (
        "import service.answering.model, learndrop.learning.learner as learner;"
        "from learndrop.images.datasets import load; from learndrop.stream.messages import Sample;"
        "from learndrop.settings import Settings;"
        "data = load('digits', 32, 16);"
        "samples = [Sample(i, l, 0.0) for i, l in zip(data.images, data.labels)];"
        "made = learner.Learner(Settings(network='small-resnet10'));"
        "made.learn(samples); made.learn(samples); made.export()"
    )
    unwanted = {"torchvision", "torch._dynamo", "sympy", "scipy", "sklearn", "river.drift"}
    assert loaded(code, unwanted) == set()


def loaded(code: str, unwanted: set[str]) -> set[str]:
    """Which of these modules a process has that runs the code; a package counts for its parts."""
    names = f"{{m for n in sys.modules for m in (n, n.split('.')[0])}} & {unwanted!r}"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sorted({names}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
