"""A chain of units is the network that was cut, bit for bit, wherever it is cut."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.swin_transformer import ShiftedWindowAttention

from learndrop.errors import BadNetwork
from learndrop.networks import catalogue
from learndrop.networks.tracing import Trace, trace
from learndrop.networks.units import Chain, chain_at, cut, legal_cuts

PLAIN = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
RESNETS = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
OTHERS = ["mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny"]
FORMERS = ["vit_b_16", "swin_t"]
OURS = ["small-resnet10", "small-resnet18"]
# one of each kind of block: deeper ones of a kind take as long as all of these
QUICK = ["small-resnet10", "vgg11", "resnet18", "resnet50"]
QUICK += ["mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t"]
ALL = [*OURS, *PLAIN, *RESNETS, *OTHERS, *FORMERS]
MORE = ["densenet121", "googlenet", "squeezenet1_1", "shufflenet_v2_x0_5", "regnet_y_400mf"]
LIKE_THEM = ["alexnet", "mnasnet0_5", "mobilenet_v2", "swin_v2_t"]
LARGER = {"swin_t": 64, "swin_v2_t": 64, "googlenet": 64, "alexnet": 64, "squeezenet1_1": 64}

UNITS = {
    **{name: 8 for name in PLAIN},
    **{"resnet18": 10, "resnet34": 18, "resnet50": 18, "resnet101": 35, "resnet152": 52},
    **{"small-resnet10": 6, "small-resnet18": 10, "vit_b_16": 14, "swin_t": 17},
}


def example(name: str) -> Tensor:
    size = LARGER.get(name, 32)
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def built(name: str) -> nn.Module:
    return catalogue.build(name, 10, image_size=LARGER.get(name, 32))


def recorded(model: nn.Module, traced: Trace, x: Tensor) -> dict[fx.Node, Tensor]:
    """What the network itself has at every step."""
    values: dict[fx.Node, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                values[n] = value.clone()
            return value

    Recorder(model, graph=traced.nodes[0].graph).run(x.clone())
    return values


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in [*QUICK, *MORE] else pytest.mark.slow)
        for name in [*ALL, *MORE, *LIKE_THEM]
    ],
)
def test_every_cut_gives_what_the_network_gives_bit_for_bit(name: str) -> None:
    model, one = built(name), example(name)
    x = torch.cat([one, -one])  # a batch, though traced with one image
    keys = set(model.state_dict())
    whole = model(x)

    chain = cut(model, one)
    check_tails(chain, x, whole)
    assert set(chain.state_dict()) == keys
    assert len(chain) == UNITS.get(name, len(chain))

    traced = trace(model, one)
    own = recorded(model, traced, x)
    maps, start = x, None
    for end in traced.cuts:
        maps = traced.piece(start, end)(maps.clone())
        assert torch.equal(maps, own[end.node]), (name, end)
        start = end
    assert torch.equal(maps, whole)


def check_tails(chain: Chain, x: Tensor, whole: Tensor) -> None:
    maps = x
    for k in range(len(chain)):
        kept = maps.clone()
        assert torch.equal(chain.tail(maps, k), whole), k
        assert torch.equal(maps, kept), f"the tail from {k} wrote into its input"
        maps = chain.run(maps, k, k + 1)
    assert torch.equal(maps, whole)
    assert torch.equal(chain.prefix(x, len(chain)), whole)


@torch.no_grad()
@pytest.mark.parametrize("name", ["small-resnet10", "resnet18", "mobilenet_v3_small"])
def test_the_whole_tail_from_every_legal_cut(name: str) -> None:
    whole_tails(name)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_the_whole_tail_from_every_legal_cut_of_every_network(name: str) -> None:
    whole_tails(name)


def whole_tails(name: str) -> None:
    model, one = built(name), example(name)
    x = torch.cat([one, -one])
    whole = model(x)
    traced = trace(model, one)
    assert len(traced.cuts) == len(legal_cuts(model, one))
    check_tails(chain_at(traced, traced.cuts), x, whole)


# -- units ------------------------------------------------------------------------------------


def small() -> tuple[nn.Module, Chain]:
    model = catalogue.build("small-resnet10", 4)
    return model, cut(model, torch.zeros(1, 3, 16, 16))


def names(name: str, size: int = 32) -> list[str]:
    model = catalogue.build(name, 10, image_size=size)
    return [unit.name for unit in cut(model, torch.zeros(1, 3, size, size)).units]


def test_units_are_named_after_what_they_hold() -> None:
    blocks = [f"layer{stage}.0" for stage in (1, 2, 3, 4)]
    assert names("small-resnet10") == ["stem", *blocks, "head"]
    assert names("mobilenet_v3_small", 64)[:3] == ["features.0-2", "features.3-4", "features.5"]
    vgg = ["features.0", "features.3", "features.6-8", "features.11-13", "features.16-18"]
    assert names("vgg11") == [*vgg, "classifier.0", "classifier.3", "head"]


def test_the_head_is_a_unit_of_one_layer_and_the_pool_belongs_before_it() -> None:
    for name in ("small-resnet10", "resnet18", "mobilenet_v3_small", "convnext_tiny", "vit_b_16"):
        model, one = built(name), example(name)
        chain = cut(model, one)
        assert len(chain.units[-1].in_shape) <= 3
        assert torch.Size(chain.units[-1].in_shape).numel() <= 2048, name
        assert [n.rpartition(".")[2] for n, _ in chain.named_parameters(len(chain) - 1)][-2:] == [
            "weight",
            "bias",
        ]


def test_vgg_ends_its_units_after_pools() -> None:
    model = catalogue.build("vgg13_bn", 10)
    chain = cut(model, torch.zeros(1, 3, 64, 64))
    sides = [unit.out_shape[1] for unit in chain.units[:5]]
    assert sides == [32, 16, 8, 4, 2]


def test_a_unit_counts_its_own_figures() -> None:
    model, chain = small()
    assert [u.position for u in chain.units] == list(range(6))
    assert sum(u.parameters for u in chain.units) == sum(p.numel() for p in model.parameters())
    stem = chain.units[0]
    assert (stem.in_shape, stem.out_shape, stem.out_bytes) == ((3, 16, 16), (16, 16, 16), 16384)
    assert stem.flops == 2 * 16 * 16 * 16 * 27  # a multiply and an add each
    assert stem.parameters == 16 * 27 + 2 * 16
    assert chain.units[-1].flops == 2 * 128 * 4


def test_each_parameter_is_in_one_unit_and_keeps_its_name() -> None:
    model, chain = small()
    named = list(chain.named_parameters())
    assert dict(named).keys() == dict(model.named_parameters()).keys()
    assert len(named) == len(dict(named)) == len({id(p) for _, p in named})
    assert {n for n, _ in chain.units[1].module.named_parameters()} == {
        n for n, _ in model.named_parameters() if n.startswith("layer1.0.")
    }


def test_state_goes_between_network_and_chain() -> None:
    model, chain = small()
    other = catalogue.build("small-resnet10", 4, seed=1)
    chain.load_state_dict(other.state_dict())
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(chain(x), other(x))
    before = {n: t.clone() for n, t in chain.state_dict().items()}
    broken = dict(other.state_dict())
    del broken["fc.bias"]
    with pytest.raises(BadNetwork, match=r"fc\.bias"):
        chain.load_state_dict(broken)
    with pytest.raises(BadNetwork, match=r"fc\.weight"):
        chain.load_state_dict({**other.state_dict(), "fc.weight": torch.zeros(5, 128)})
    assert all(torch.equal(before[n], t) for n, t in chain.state_dict().items())
    fresh = catalogue.build("small-resnet10", 4, seed=2)
    fresh.load_state_dict(chain.state_dict())


def test_a_chain_can_be_copied_and_moved_without_a_trace_of_the_other() -> None:
    _, chain = small()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        whole = chain(x)
        other = copy.deepcopy(chain).to(device="cpu", memory_format=torch.channels_last)
        assert torch.allclose(other(x), whole, atol=1e-5)
        for p in other.parameters():
            p.zero_()
        assert torch.equal(chain(x), whole)
    with pytest.raises(IndexError, match="no way from cut 4 to 2 in 6 units"):
        chain.run(x, 4, 2)


# -- training ---------------------------------------------------------------------------------


def test_units_from_k_train_and_those_before_stand_still() -> None:
    _, chain = small()
    before = {n: t.clone() for n, t in chain.state_dict().items()}
    chain.train_from(3)
    assert [u.module.training for u in chain.units] == [False] * 3 + [True] * 3
    modes = {m.training for u in chain.units[:3] for m in u.module.modules()}
    assert modes == {False}
    torch.autograd.backward(chain(torch.randn(4, 3, 16, 16)).sum())
    for name, tensor in chain.state_dict().items():
        if "running_mean" in name:
            moved = not torch.equal(tensor, before[name])
            assert moved == name.startswith(("layer3", "layer4")), name


def test_batchnorm_alone_stands_still_where_it_is_told_to() -> None:
    _, chain = small()
    chain.train_from(2, norms=False)
    for unit in chain.units:
        for module in unit.module.modules():
            normalises = isinstance(module, torch.nn.BatchNorm2d)
            assert module.training == (unit.position >= 2 and not normalises)
    chain.train_from(2)
    assert all(m.training for u in chain.units[2:] for m in u.module.modules())


@pytest.mark.parametrize(
    ("name", "k"), [("small-resnet18", 4), ("mobilenet_v3_small", 5), ("swin_t", 3), ("vgg11", 4)]
)
def test_a_tail_trains_as_the_same_part_of_the_network_does(name: str, k: int) -> None:
    """Same seed, same dropout, same statistics, same gradients: exactly."""
    size = LARGER.get(name, 64)
    model = catalogue.build(name, 10, image_size=size)
    if name == "swin_t":  # its functional dropout would be frozen into a careless trace
        for module in model.modules():
            if isinstance(module, ShiftedWindowAttention):
                module.attention_dropout = 0.5
    twin = copy.deepcopy(model)
    chain = cut(twin, torch.zeros(1, 3, size, size))
    x = torch.randn(4, 3, size, size)

    early = {n for u in chain.units[:k] for n, _ in u.module.named_modules() if n}
    model.train()
    for path, module in model.named_modules():
        if path in early:
            module.training = False
    torch.manual_seed(5)
    expected = model(x)
    torch.autograd.backward(expected.square().sum())

    chain.train_from(k)
    with torch.no_grad():
        maps = chain.prefix(x, k)
    torch.manual_seed(5)
    got = chain.tail(maps, k)
    torch.autograd.backward(got.square().sum())
    assert torch.equal(got, expected)
    own = dict(model.named_parameters())
    for path, p in chain.named_parameters(k):
        expected_grad = own[path].grad
        assert p.grad is not None and expected_grad is not None
        assert torch.equal(p.grad, expected_grad), path
    assert all(p.grad is None for u in chain.units[:k] for p in u.module.parameters())
    buffers = dict(model.named_buffers())
    for u in chain.units[k:]:
        for path, b in u.module.named_buffers():
            assert torch.equal(b, buffers[path]), path


def test_a_chain_that_grows_keeps_old_rows_and_counts_anew() -> None:
    _, chain = small()
    x = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        before = chain(x)
        old = dict(chain.named_parameters())["fc.weight"].clone()
        chain.grow(7)
        after = chain(x)
    grown = dict(chain.named_parameters())["fc.weight"]
    assert torch.equal(grown[:4], old) and chain.classes == 7
    assert torch.allclose(after[:, :4], before, atol=1e-5)
    assert torch.equal(after.argmax(1), before.argmax(1))
    head = chain.units[-1]
    assert (head.flops, head.out_shape, head.parameters) == (2 * 128 * 7, (7,), 129 * 7)
    with pytest.raises(BadNetwork, match="cannot shrink"):
        chain.grow(3)


# -- networks that are not torchvision's --------------------------------------------------------


class Odd(nn.Module):
    """A layer called twice, a tensor made in forward, a bare scale, and in-place work."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.full((1,), 1.5))
        self.act = nn.ReLU(inplace=True)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = self.twice(x)
        x = self.act(x)
        x = self.twice(x) + torch.arange(8.0).view(1, 8, 1, 1)
        x.mul_(self.scale)
        x = x.mean((2, 3))
        result: Tensor = self.last(x.add_(self.scale))
        return result


@torch.no_grad()
def test_a_layer_called_twice_ties_its_calls_into_one_unit() -> None:
    model = Odd().eval()
    x = torch.randn(2, 3, 8, 8)
    chain = cut(model, x[:1])
    assert [u.name for u in chain.units] == ["stem", "twice", "head"]
    check_tails(chain, x, model(x))
    assert set(chain.state_dict()) == set(model.state_dict())


class Shared(nn.Module):
    """One dropout module serves two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.a(x.mean((2, 3))))
        x = self.drop(self.b(x))
        result: Tensor = self.c(x)
        return result


def test_units_that_share_a_dropout_have_their_modes_apart() -> None:
    chain = cut(Shared(), torch.zeros(1, 3, 8, 8))
    assert len(chain) == 3
    chain.train_from(2)
    x = torch.ones(64, 3, 8, 8)
    before_the_cut = chain.run(x, 0, 2)
    assert torch.equal(before_the_cut, before_the_cut[:1].expand(64, -1))
    logits = chain(x)
    assert not torch.equal(logits, logits[:1].expand(64, -1))
    chain.eval()
    logits = chain(x)
    assert torch.equal(logits, logits[:1].expand(64, -1))


class WritesInto(nn.Module):
    """The second unit begins with an operation that overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = BasicBlock(3, 3), BasicBlock(3, 3)
        self.act = nn.ReLU6(inplace=True)
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.act(self.a(x)).sub_(0.1))
        result: Tensor = self.out(x.view(x.shape[0], 3, -1).mean(2))
        return result


@torch.no_grad()
def test_stored_maps_are_never_written_into() -> None:
    model = WritesInto().eval()
    x = torch.randn(2, 3, 8, 8)
    traced = trace(model, x[:1])
    check_tails(chain_at(traced, traced.cuts), x, model(x))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out(x.mean((2, 3)))
        return result if result.sum() > 0 else -result


class OtherInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out(x.mean((2, 3)))
        return result * 2 if self.training else result


class Dice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out(x.mean((2, 3)) + torch.rand_like(x[:, :, 0, 0]))
        return result


def test_a_network_that_the_pieces_do_not_repeat_is_refused() -> None:
    with pytest.raises(BadNetwork, match="Dice cut into units gives other results than whole"):
        cut(Dice(), torch.zeros(1, 3, 8, 8))


def test_what_cannot_be_followed_is_refused_with_the_place() -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(BadNetwork, match="cannot be traced after gt, in line .*control flow"):
        cut(Branches(), x)
    with pytest.raises(BadNetwork, match="another way in training"):
        cut(OtherInTraining(), x)
    with pytest.raises(BadNetwork, match="does not give logits"):
        cut(nn.Conv2d(3, 3, 1), x)
    with pytest.raises(BadNetwork, match="nothing to learn"):
        cut(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), x)
    with pytest.raises(BadNetwork, match="cannot take an input of 3 x 8 x 8"):
        cut(catalogue.build("vgg11", 2), x)


def test_cutting_leaves_modes_and_numbers_as_they_were() -> None:
    model = catalogue.build("small-resnet10", 4)
    model.train()
    model.get_submodule("layer2").eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    legal_cuts(model, torch.zeros(1, 3, 16, 16))
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
