"""The account of FLOPs, against counts on paper."""

from __future__ import annotations

import orjson
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from learndrop.drift.candidate import Candidate
from learndrop.errors import DamagedFile
from learndrop.learning.learner import Learner
from learndrop.networks import catalogue, flops
from learndrop.networks.chain import Chain
from learndrop.networks.units import cut
from learndrop.training.ledger import Ledger
from tests.learning import digits, learn, quick_learner


class Paper(nn.Module):
    """conv 3->4 (3x3), pool, conv 4->8 (3x3), pool, linear 8->5, on 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.b = nn.Conv2d(4, 8, 3, padding=1)
        self.c = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.a(x))
        x = self.b(x).mean((2, 3))
        result: Tensor = self.c(x)
        return result


A = 2 * 4 * 8 * 8 * 3 * 9  # a multiply and an add for each weight and place
B = 2 * 8 * 4 * 4 * 4 * 9
C = 2 * 8 * 5
WHOLE = A + B + C


def paper() -> Chain:
    return cut(Paper(), torch.zeros(1, 3, 8, 8))


def test_forward_costs_are_those_on_paper() -> None:
    ledger = Ledger(paper())
    assert [ledger.forward_cost(u, u + 1) for u in range(3)] == [A, B, C]
    assert ledger.forward_cost(0, 3) == WHOLE
    assert ledger.forward_cost(1, 3) == B + C
    assert ledger.forward_cost(2, 2) == 0


def test_backward_costs_weights_once_and_maps_once_but_for_the_first_unit() -> None:
    ledger = Ledger(paper())
    assert ledger.backward_cost(0) == A + 2 * B + 2 * C
    assert ledger.backward_cost(1) == B + 2 * C
    assert ledger.backward_cost(2) == C
    assert ledger.backward_cost(3) == 0
    assert ledger.step_costs() == [WHOLE + A + 2 * B + 2 * C, 2 * B + 3 * C, 2 * C, 0]


@pytest.mark.parametrize(
    ("name", "size"), [("small-resnet10", 16), ("mobilenet_v3_small", 32), ("swin_t", 32)]
)
def test_the_sum_by_unit_is_what_a_real_step_of_each_depth_counts(name: str, size: int) -> None:
    chain = cut(catalogue.build(name, 4), torch.zeros(1, 3, size, size))
    ledger = Ledger(chain)
    x = torch.randn(2, 3, size, size)
    for k in range(0, len(chain), 3):
        chain.train_from(k)
        with torch.no_grad():
            maps = chain.prefix(x, k)
        with FlopCounterMode(display=False) as counter:
            torch.autograd.backward(chain.tail(maps, k).square().sum())
        assert counter.get_total_flops() == 2 * ledger.step_cost(k), (name, k)
        for p in chain.parameters():
            p.grad = None


def test_attention_is_counted() -> None:
    """Four products of 768 x 768 by token, two of the MLP's, and scores and sums of 5 tokens."""
    chain = cut(catalogue.build("vit_b_16", 4, image_size=32), torch.zeros(1, 3, 32, 32))
    tokens, width = 5, 768
    layer = 2 * tokens * width * width * (4 + 8) + 2 * 2 * tokens * tokens * width
    assert chain.units[5].flops == layer


@pytest.mark.parametrize(
    "name",
    ["small-resnet10", "mobilenet_v3_small", pytest.param("vit_b_16", marks=pytest.mark.slow)],
)
def test_numbers_or_none_the_count_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = cut(catalogue.build(name, 4, image_size=32), torch.zeros(1, 3, 32, 32))
    counts = []
    for most in (0, 10**15):
        monkeypatch.setattr(flops, "SMALL", most)
        counts.append(
            [
                (
                    flops.forward_flops(u.module, u.in_shape),
                    flops.backward_flops(u.module, u.in_shape, input_gradient=True),
                )
                for u in chain.units[:4]
            ]
        )
    assert counts[0] == counts[1]


def test_counting_changes_nothing_in_the_chain() -> None:
    chain = paper()
    chain.train_from(1)
    before = {n: t.clone() for n, t in chain.state_dict().items()}
    Ledger(chain).step_costs()
    assert [u.module.training for u in chain.units] == [False, True, True]
    assert all(torch.equal(before[n], t) for n, t in chain.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in chain.parameters())


def test_what_is_done_and_what_full_training_would_cost() -> None:
    ledger = Ledger(paper())
    step = ledger.step_costs()
    ledger.test(10)
    ledger.train(2, 14, arriving=10)  # 4 of them replayed
    ledger.build(0, 2, 3)
    ledger.probe(2, 1, trained_from=2)
    totals = ledger.totals()
    assert totals["by_kind"] == {
        "test": 10 * WHOLE,
        "forward": 14 * C,
        "backward": 14 * C,
        "build": 3 * (A + B),
        "probe": 2 * (B + C) + 2 * C,
    }
    assert totals["done"] == sum(totals["by_kind"].values())
    assert totals["forward_done"] == totals["done"] - 14 * C
    assert totals["full"] == 10 * (WHOLE + step[0])
    assert totals["forward_full"] == 10 * 2 * WHOLE
    assert totals["saved_ratio"] == 1 - totals["done"] / totals["full"]


def test_training_everything_once_saves_nothing() -> None:
    ledger = Ledger(paper())
    ledger.test(8)
    ledger.train(0, 8)
    totals = ledger.totals()
    assert totals["done"] == totals["full"] and totals["saved_ratio"] == 0.0
    assert totals["forward_done"] == totals["forward_full"]
    assert Ledger(paper()).totals()["saved_ratio"] == 0.0


def test_a_head_that_grows_costs_more_from_then_on() -> None:
    chain = paper()
    ledger = Ledger(chain)
    ledger.test(1)
    chain.grow(7)
    ledger.rebind(chain)
    assert ledger.forward_cost(2, 3) == 2 * 8 * 7
    assert ledger.backward_cost(2) == 2 * 8 * 7
    ledger.test(1)
    assert ledger.totals()["done"] == 2 * (A + B) + C + 2 * 8 * 7


def test_the_account_survives_a_restart() -> None:
    ledger = Ledger(paper())
    ledger.test(5)
    ledger.train(1, 5)
    again = Ledger(paper())
    again.load_json(orjson.loads(orjson.dumps(ledger.to_json())))
    assert again.totals() == ledger.totals()
    again.test(1)
    assert again.totals()["done"] == ledger.totals()["done"] + WHOLE
    damages: list[dict[str, object]] = [{}, {"by_kind": {}}, {**ledger.to_json(), "full": "much"}]
    for damaged in damages:
        with pytest.raises(DamagedFile, match="no account of FLOPs"):
            again.load_json(damaged)


def test_sums_larger_than_json_takes_are_still_told() -> None:
    ledger = Ledger(paper())
    ledger.test(2**60)
    assert orjson.loads(orjson.dumps(ledger.totals()))["done"] == pytest.approx(WHOLE * 2.0**60)
    again = Ledger(paper())
    again.load_json(orjson.loads(orjson.dumps(ledger.to_json())))
    assert again.totals()["done"] == pytest.approx(WHOLE * 2.0**60)


def done(learner: Learner) -> int:
    return int(learner.ledger.totals()["done"])


def test_every_pass_of_the_network_is_in_the_account() -> None:
    """Answers, steps, a candidate beside, scores of outputs, looks at a reset, the reserve."""
    own = {"candidate": True, "score": "function", "recovery_samples": 512}
    # what is replayed from a recording is not seen by the counter
    learner = quick_learner(classes=tuple("0123456789"), cuda_graphs=False, **own)
    learn(learner, digits("clean", length=1120))
    learner.drop_to(3, "by hand")
    learner.candidate = Candidate(learner.trainer, "warned")
    assert learner.belief.reserve.tells
    types: list[str] = []
    for batch in digits("rotated90", length=800, seed=1).batches(32):
        learner.ledger.step_costs()  # a count that is made once a unit: not inside another one
        before = done(learner)
        with FlopCounterMode(display=False) as counter:
            types += [e.type for e in learner.learn(batch).events]
            learner.belief.fitness()
        assert counter.get_total_flops() == done(learner) - before, types
    assert {"drift", "reset"} <= set(types)


def test_what_a_version_is_measured_with_is_a_guard() -> None:
    learner = quick_learner(classes=tuple("0123456789"))
    learn(learner, digits("clean", length=1120))
    before = dict(learner.ledger.totals()["by_kind"])
    assert learner.belief.fitness() is not None
    after = learner.ledger.totals()["by_kind"]
    whole = learner.ledger.forward_cost(0, len(learner.chain.units))
    assert after.pop("probe") - before.pop("probe") == whole * len(learner.belief.reserve)
    assert after == before
