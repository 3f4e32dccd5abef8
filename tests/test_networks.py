"""Networks by name, their first weights, their heads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from learndrop.errors import BadNetwork, DamagedFile
from learndrop.networks import catalogue
from learndrop.networks.floats import to_float
from learndrop.networks.heads import grow_head, head, n_outputs
from learndrop.networks.spec import NetworkSpec
from learndrop.settings import load_settings

FAMILIES = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_32",
    "wide_resnet50_2",
]
SHARED = Path(__file__).parents[2] / "shared" / "data"  # of the place where this was written
HALF_RESNET18 = SHARED / "resnet18-half-cifar10.safetensors"


@pytest.mark.parametrize("name", [*FAMILIES, "small-resnet10", "small-resnet18"])
def test_every_family_gives_its_head(name: str) -> None:
    with torch.device("meta"):  # shapes are enough, and take no time
        model = catalogue.build(name, 7)
    found, layer = head(model)
    assert n_outputs(layer) == 7
    assert model.get_submodule(found) is layer


def test_regnets_give_their_head_too() -> None:
    assert n_outputs(head(catalogue.build("regnet_y_400mf", 7))[1]) == 7


@pytest.mark.parametrize("name", ["small-resnet10", "resnet18", "googlenet"])
def test_one_seed_gives_one_network_and_leaves_the_global_one_alone(name: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, again = catalogue.build(name, 3, seed=1), catalogue.build(name, 3, seed=1)
    assert torch.equal(torch.rand(4), expected)
    other = catalogue.build(name, 3, seed=2)
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(
        torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )
    assert not first.training


def test_an_unknown_name_is_told_with_near_ones() -> None:
    with pytest.raises(BadNetwork, match=r"'resnet20'; near: .*resnet"):
        catalogue.build("resnet20", 3)
    with pytest.raises(BadNetwork, match="near: .*small-resnet10"):
        catalogue.build("Small-ResNet", 3)
    with pytest.raises(BadNetwork, match="1 class or more"):
        catalogue.build("resnet18", 0)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("vgg11", 16, "images of 16 px: too small"),
        ("inception_v3", 32, "images of 32 px: too small"),
        ("vit_b_16", 40, "indivisible by patch size"),
        ("maxvit_t", 64, "not divisible by partition size"),
    ],
)
def test_an_image_size_that_does_not_fit_is_refused(name: str, size: int, reason: str) -> None:
    with pytest.raises(BadNetwork, match=reason):
        catalogue.build(name, 3, image_size=size)


def test_vit_is_built_for_its_image_size() -> None:
    model = catalogue.build("vit_b_16", 3, image_size=32)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


# -- first weights ------------------------------------------------------------------------------


def saved(model: nn.Module, path: Path) -> str:
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, path)
    return str(path)


def test_weights_come_from_a_safetensors_file(tmp_path: Path) -> None:
    source = catalogue.build("small-resnet10", 3, seed=5)
    path = saved(source, tmp_path / "w.safetensors")
    loaded = catalogue.build("small-resnet10", 3, weights=path)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded(x), source(x))


def test_a_head_of_another_size_starts_fresh_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = catalogue.build("small-resnet10", 3, seed=5)
    path = saved(source, tmp_path / "w.safetensors")
    with caplog.at_level(logging.WARNING):
        loaded = catalogue.build("small-resnet10", 8, weights=path)
    assert "has 3 classes, this network 8" in caplog.text
    assert torch.equal(loaded.get_parameter("conv1.weight"), source.get_parameter("conv1.weight"))
    assert loaded.get_parameter("fc.weight").shape == (8, 128)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    source = catalogue.build("small-resnet10", 3)
    good = saved(source, tmp_path / "w.safetensors")
    with pytest.raises(BadNetwork, match="hold unknown|lack"):
        catalogue.build("resnet18", 3, weights=good)
    wide = {
        n: torch.cat([t, t]) if n == "conv1.weight" else t for n, t in source.named_parameters()
    }
    save_file({n: t.detach() for n, t in wide.items()}, tmp_path / "wide.safetensors")
    with pytest.raises(BadNetwork, match="lack bn1.running_mean"):
        catalogue.build("small-resnet10", 3, weights=str(tmp_path / "wide.safetensors"))
    state = source.state_dict() | {"conv1.weight": torch.zeros(9, 3, 3, 3)}
    save_file(state, tmp_path / "wide.safetensors")
    with pytest.raises(BadNetwork, match=r"conv1.weight \(9, 3, 3, 3\) instead of \(16, 3, 3, 3\)"):
        catalogue.build("small-resnet10", 3, weights=str(tmp_path / "wide.safetensors"))


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadNetwork, match="cannot be read"):
        catalogue.build("small-resnet10", 3, weights=str(tmp_path / "none.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(BadNetwork, match="cannot be read"):
        catalogue.build("small-resnet10", 3, weights=str(tmp_path / "bad.safetensors"))
    (tmp_path / "w.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(BadNetwork, match="neither a .safetensors file nor"):
        catalogue.build("small-resnet10", 3, weights=str(tmp_path / "w.pt"))
    with pytest.raises(BadNetwork, match="torchvision has no weights for small-resnet10"):
        catalogue.build("small-resnet10", 3, weights="torchvision")


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("vit_b_32", 64)])
def test_torchvision_weights_fit_without_side_heads_and_at_other_sizes(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the download itself, which a test must not need."""
    told: dict[str, object] = {}
    options = {"init_weights": False} if name == "googlenet" else {}
    offered: Mapping[str, Tensor] = torchvision.models.get_model(
        name, weights=None, **options
    ).state_dict()

    def offer(self: WeightsEnum, **options: object) -> Mapping[str, Tensor]:
        told.update(options)
        return offered

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offer)
    model = catalogue.build(name, 3, weights="torchvision", image_size=size)
    assert told == {"progress": False, "check_hash": True, "weights_only": True}
    state = model.state_dict()
    same = [k for k in state if k in offered and state[k].shape == offered[k].shape]
    assert len(same) >= len(state) - 3  # all but the head and ViT's positions
    assert all(torch.equal(state[k], offered[k]) for k in same)


def test_without_a_network_torchvision_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(self: WeightsEnum, **options: object) -> Mapping[str, Tensor]:
        raise URLError("no route to host")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", away)
    with pytest.raises(BadNetwork, match="resnet18 cannot be fetched: .*no route"):
        catalogue.build("resnet18", 3, weights="torchvision")


def test_the_shared_half_resnet_loads_as_ours() -> None:
    if not HALF_RESNET18.is_file():
        pytest.skip("not here: the weights that first figures were made with")
    model = catalogue.build("small-resnet18", 10, weights=str(HALF_RESNET18), image_size=32)
    assert model.get_parameter("fc.weight").shape == (10, 256)


# -- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small-resnet10", "squeezenet1_1", "vit_b_32"])
def test_a_grown_head_answers_as_before(name: str) -> None:
    size = 32 if name != "squeezenet1_1" else 64
    model = catalogue.build(name, 3, image_size=size)
    x = torch.randn(8, 3, size, size)
    path, layer = head(model)
    rows = {n: p.detach().clone() for n, p in layer.named_parameters()}
    with torch.no_grad():
        before = model(x)
        grow_head(model, 6)
        after = model(x)
    assert head(model)[0] == path and n_outputs(layer) == 6
    for n, p in layer.named_parameters():
        assert torch.equal(p[:3], rows[n]) and p.requires_grad, n
    assert torch.allclose(after[:, :3], before, atol=1e-5)
    assert torch.equal(after.argmax(1), before.argmax(1))


def test_a_new_row_never_wins_at_the_moment_of_growth() -> None:
    """Also where every old logit is negative, which a row of zeros would beat."""
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.fill_(-50.0)
    model = nn.Sequential(layer)
    x = torch.randn(200, 4)
    before = model(x).argmax(1)
    grow_head(model, 9)
    assert torch.equal(model(x).argmax(1), before)


def test_a_head_grows_only() -> None:
    model = catalogue.build("small-resnet10", 3)
    weight = model.get_parameter("fc.weight")
    grow_head(model, 3)
    assert model.get_parameter("fc.weight") is weight
    with pytest.raises(BadNetwork, match="3 classes cannot shrink to 2"):
        grow_head(model, 2)
    with pytest.raises(BadNetwork, match="no Linear or Conv2d"):
        head(nn.ReLU())


# -- input and versions ---------------------------------------------------------------------------


def test_pixels_become_the_input() -> None:
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)
    x = to_float(torch.from_numpy(images), mean, std)
    shifted = images.astype(np.float32) - np.array(mean, np.float32)
    expected = (shifted / np.array(std, np.float32)).transpose(0, 3, 1, 2)
    assert x.dtype == torch.float32 and x.is_contiguous()
    assert np.array_equal(x.numpy(), expected)
    last = to_float(
        torch.from_numpy(images),
        mean,
        std,
        dtype=torch.bfloat16,
        memory_format=torch.channels_last,
    )
    assert last.dtype == torch.bfloat16
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, x.bfloat16())
    assert images[0, 0, 0, 0] == 0  # the pixels stay as they are


def spec(**values: object) -> NetworkSpec:
    found = NetworkSpec.from_settings(load_settings(network="small-resnet10", image_size=16))
    return NetworkSpec.from_json(found.with_classes(["a", "b"]).to_json() | values)


def test_a_network_is_rebuilt_from_its_spec_and_weights() -> None:
    model = catalogue.build("small-resnet10", 5, seed=9)  # room for 3 more labels
    again = catalogue.rebuild(spec(), model.state_dict())
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert not again.training
    state = dict(model.state_dict())
    del state["fc.weight"]
    with pytest.raises(BadNetwork, match=r"lack fc\.weight"):
        catalogue.rebuild(spec(), state)
    with pytest.raises(BadNetwork, match=r"fc\.weight"):
        catalogue.rebuild(spec(classes=list("abcdefg")), model.state_dict())


def test_a_spec_survives_json() -> None:
    assert spec() == NetworkSpec.from_json(spec().to_json() | {"later": 1})
    assert spec().classes == ("a", "b")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 3},
        {"image_size": "16"},
        {"image_size": True},
        {"image_size": 0},
        {"pixel_mean": [1, 2]},
        {"pixel_std": [1, 2, 0]},
        {"fit": "stretch"},
        {"classes": [1]},
        {"classes": None},
    ],
)
def test_a_spec_that_is_none_is_damage(wrong: dict[str, object]) -> None:
    with pytest.raises(DamagedFile, match="describes no network"):
        spec(**wrong)


@pytest.mark.parametrize("name", ["small-resnet10", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_a_shell_that_is_filled_answers_as_the_network_that_the_tensors_are_from(name: str) -> None:
    model, x = catalogue.build(name, 3, seed=1, image_size=32), torch.rand(2, 3, 32, 32)
    shell = catalogue.shell(name, 3, image_size=32)
    assert catalogue.is_hollow(shell)
    wider = {n: t.double() if t.is_floating_point() else t for n, t in model.state_dict().items()}
    catalogue.fill(shell, wider)
    assert not catalogue.is_hollow(shell) and not shell.training
    with torch.no_grad():
        assert torch.equal(shell(x), model(x))
    with pytest.raises(RuntimeError, match="size mismatch"):
        catalogue.fill(catalogue.shell(name, 4, image_size=32), model.state_dict())


def test_shells_of_one_network_are_filled_each_for_itself() -> None:
    models = [catalogue.build("small-resnet10", 3, seed=seed, image_size=32) for seed in (1, 2)]
    shells = [catalogue.shell("small-resnet10", 3, image_size=32) for _ in range(3)]
    for shell, model in zip(shells, models, strict=False):
        catalogue.fill(shell, model.state_dict())
    assert catalogue.is_hollow(shells[2])
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for shell, model in zip(shells, models, strict=False):
            assert torch.equal(shell(x), model(x))


def test_a_network_that_holds_more_than_its_state_stays_hollow() -> None:
    with torch.device("meta"):
        model = torch.nn.BatchNorm1d(2)
        model.register_buffer("own", torch.ones(1), persistent=False)
    catalogue.fill(model, torch.nn.BatchNorm1d(2).state_dict())
    assert catalogue.is_hollow(model)
