"""`learndrop.Learner`: the learning engine in a script of one's own, without service or Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learndrop.disk.files import write_atomic
from learndrop.epochs.fit import Epoch, Epochs
from learndrop.epochs.fixed_set import Pictures
from learndrop.errors import BadInput, BadNetwork, DamagedFile
from learndrop.events import Event
from learndrop.images.items import (
    Item,
    Label,
    Order,
    Source,
    chunks,
    items,
    many,
    picture,
    plain_label,
)
from learndrop.learning import checkpoint
from learndrop.learning.growing import targets_of
from learndrop.learning.learner import Learner as Engine
from learndrop.networks.by_hand import Part, by_hand
from learndrop.networks.chain import Chain
from learndrop.networks.units import cut
from learndrop.settings import Settings, load_settings
from learndrop.stream.messages import Sample

ABOUT = "learner.json"  # beside the checkpoint: what it takes to load it
OWN_WEIGHTS = "(the model's own)"
AT_ONCE = 256  # images in one pass of `predict`


@dataclass
class Learned:
    """What one call of `learn_from` did.

    Attributes:
        samples: learned.
        correct: answered right before they were learned.
        events: drops, drifts, resets and the like, in order.
    """

    samples: int = 0
    correct: int = 0
    events: list[Event] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """Share answered right before being learned (NaN of nothing)."""
        return self.correct / self.samples if self.samples else float("nan")


class Learner:
    """Learns labelled pictures as they come and drops what it has learned.

    Args:
        model: a classifier of your own, float [N, 3, S, S] to logits [N, classes]; it is trained
            in place. Without it the setting `network` names one.
        classes: labels in the order of the model's outputs; others are added as they come.
        units: where the model cannot be traced: its units by hand (see
            `learndrop.networks.by_hand`).
        pretrained: the model knows its classes already: it answers before it has learned.
        settings: any of `learndrop.settings`, as keywords; the environment holds for the others.

    Raises:
        BadNetwork: if the network cannot be built, traced or cut; it says where.
        BadSettings: naming the setting.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        classes: Sequence[Label] = (),
        units: Sequence[Part] = (),
        pretrained: bool = False,
        **settings: Any,
    ) -> None:
        if not isinstance(model, nn.Module | None):
            raise BadNetwork(f"a model is a torch.nn.Module, this is a {type(model).__name__}")
        given = [plain_label(c) for c in classes]
        own = {"network": type(model).__name__} if model is not None else {}
        own |= {"weights": OWN_WEIGHTS} if model is not None and pretrained else {}
        known = load_settings(**{**settings, "classes": tuple(map(str, given)), **own})
        self._kind, self._own = _kind(given, None), model is not None
        self.engine = Engine(known, chain=_chain(model, units, known))

    # -- learning ---------------------------------------------------------------------------

    def learn_from(
        self, data: Source, *, batch: int | None = None, order: Order = "given"
    ) -> Learned:
        """Answer and learn every item once.

        Args:
            data: torch Dataset, DataLoader, or any iterable of (picture, label); see
                `learndrop.images.items`. An endless one goes on until it is interrupted.
            batch: samples in a step; the setting `batch` when not given.
            order: `shuffled` for a data set on disk that is sorted, by the setting `seed`.

        Raises:
            BadInput: naming the item; what came before it is learned.
        """
        if batch is not None and batch < 1:
            raise BadInput(
                f"a batch of {batch} samples: 1 or more", item="batch", limit=1, value=batch
            )
        done = Learned()
        seed = self.engine.settings.seed + self.engine.progress.samples  # another order each pass
        source = self._items(data, order=order, seed=seed)
        for part in chunks(source, self.engine.settings.batch if batch is None else batch):
            report = self.engine.learn([Sample(image, self._name(label)) for image, label in part])
            done.samples += report.count
            done.correct += report.correct
            done.events += report.events
        return done

    def fit(
        self,
        data: Source,
        *,
        epochs: float,
        held_out: Source | None = None,
        augment: bool = False,
        tell: Callable[[Epoch], None] = lambda epoch: None,
    ) -> list[Epoch]:
        """Train in shuffled epochs on a fixed set, which is held in memory as pixels.

        The same rule drops what has settled; what it saves is in each epoch's account.

        Args:
            data: as for `learn_from`; it must end.
            epochs: passes over it; a fraction is a part of one.
            held_out: answered after each epoch, never learned.
            augment: move the pictures a little and mirror them.
            tell: hears of each epoch when it is over.

        Raises:
            BadInput: naming the item, or if there is none.
        """
        images, labels = self._arrays(data)
        if not labels:
            raise BadInput("there is nothing to learn", item="data")
        pictures = Pictures(images, targets_of(self.engine, [self._name(t) for t in labels]))
        held = None
        if held_out is not None:
            images, labels = self._arrays(held_out)
            known = {label: i for i, label in enumerate(self.classes)}
            held = Pictures(images, np.array([known.get(t, -1) for t in labels], np.int64))
        return Epochs(self.engine, pictures, epochs=epochs, held_out=held, augment=augment).run(
            tell
        )

    # -- answering --------------------------------------------------------------------------

    def predict(self, images: Iterable[Any]) -> list[Label]:
        """The most likely label of each picture, as it was learned: a name or a number.

        Raises:
            NotLearnedYet: before the first label.
            BadInput: for one picture that is not in a list.
            BadPicture: for what is no picture.
        """
        return [self.classes[int(i)] for i in self.probabilities(images).argmax(1)]

    def probabilities(self, images: Iterable[Any]) -> NDArray[np.float32]:
        """float32 [N, classes], in the order of `classes`; raises as `predict` does."""
        settings = self.engine.settings
        size, fit = settings.image_size, settings.fit
        shares = [
            self.engine.predict(np.stack([picture(i, size=size, fit=fit) for i in part]))
            for part in chunks(many(images), AT_ONCE)
        ]
        return np.concatenate(shares or [np.zeros((0, len(self.classes)), np.float32)])

    def evaluate(self, data: Source) -> float:
        """Share of right answers on labelled data, which is not learned (NaN of nothing)."""
        right = total = 0
        for part in chunks(self._items(data), AT_ONCE):
            answers = self.engine.predict(np.stack([image for image, _ in part])).argmax(1)
            right += sum(self.classes[int(a)] == t for a, (_, t) in zip(answers, part, strict=True))
            total += len(part)
        return right / total if total else float("nan")

    # -- looking ----------------------------------------------------------------------------

    @property
    def classes(self) -> list[Label]:
        """The labels known so far, as they were given."""
        return [int(c) if self._kind is int else c for c in self.engine.classes]

    @property
    def accuracy(self) -> float | None:
        """Share answered right before being learned, over the newest `accuracy_window` samples."""
        return self.engine.progress.accuracy

    def state(self) -> dict[str, Any]:
        """What is dropped and why, drifts, events, FLOPs, seconds: as `GET /v1/state` tells it."""
        events = [event.to_json() for event in reversed(self.engine.recent_events)]
        return self.engine.state() | {"events": events}

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all weights and statistics of the full network, by their names in it."""
        state = self.engine.chain.state_dict()
        return {n: t.detach().cpu().clone().contiguous() for n, t in state.items()}

    # -- keeping ----------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write everything into the folder `path`; learning goes on from it bit for bit.

        Raises:
            BadInput: if there is a file of that name.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"{folder} is a file, not a folder to save in", item="path")
        checkpoint.save(self.engine, folder, position="", keep=1)
        settings = self.engine.settings
        kept = settings.model_fields_set - {"redis_url"}  # it may hold a password
        about = {
            "settings": settings.model_dump(mode="json", include=kept),
            "labels": self._kind.__name__ if self._kind else None,
            "own_model": self._own,
        }
        write_atomic(folder / ABOUT, orjson.dumps(about, option=orjson.OPT_INDENT_2))

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: nn.Module | None = None,
        *,
        units: Sequence[Part] = (),
        **settings: Any,
    ) -> Self:
        """Bring back what `save` wrote; its settings hold unless given anew.

        Args:
            path: the folder.
            model: where the learner had one of its own: the same architecture again.
            units: as they were given.
            settings: what shall be different from now on.

        Raises:
            DamagedFile: if the folder holds no learner, or a damaged one.
            BadNetwork: if the model is another one.
        """
        folder = Path(path)
        try:
            about = orjson.loads((folder / ABOUT).read_bytes())
            known = load_settings(**{**about["settings"], **settings})
            kind = {"int": int, "str": str, None: None}[about["labels"]]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise DamagedFile(f"{folder} holds no saved learner: {exc!r}") from exc
        if (model is not None) != about["own_model"]:
            told = (
                f"a model of its own, {known.network}" if about["own_model"] else "none of its own"
            )
            raise BadNetwork(f"this learner had {told}: give model= just so")
        found = checkpoint.load_latest(folder, known, _chain(model, units, known))
        if found is None:
            raise DamagedFile(f"{folder} holds no checkpoint")
        learner = cls.__new__(cls)
        learner.engine, learner._kind, learner._own = found[0], kind, model is not None
        return learner

    # -- parts ------------------------------------------------------------------------------

    def _items(self, data: Source, *, order: Order = "given", seed: int = 0) -> Iterator[Item]:
        settings = self.engine.settings
        return items(data, size=settings.image_size, fit=settings.fit, order=order, seed=seed)

    def _arrays(self, data: Source) -> tuple[NDArray[np.uint8], list[Label]]:
        pairs = list(self._items(data))
        size = self.engine.settings.image_size
        images = np.zeros((len(pairs), size, size, 3), np.uint8)
        for i, (image, _) in enumerate(pairs):
            images[i] = image
        return images, [label for _, label in pairs]

    def _name(self, label: Label) -> str:
        self._kind = _kind([label], self._kind)
        return str(label)


def _kind(labels: Sequence[Label], before: type[Label] | None) -> type[Label] | None:
    """Whether labels are names or numbers: never both, for 1 and "1" would be one class."""
    for kind in map(type, labels):
        if before not in (None, kind):
            raise BadInput(
                "labels are all names or all numbers; here are both", item="label", value=labels[0]
            )
        before = kind
    return before


def _chain(model: nn.Module | None, parts: Sequence[Part], settings: Settings) -> Chain | None:
    if model is None:
        if parts:
            raise BadNetwork("units=[...] belong to a model: give model=")
        return None
    size = settings.image_size
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    example = torch.zeros(1, 3, size, size, device=device)
    chain = by_hand(model, parts, example) if parts else cut(model, example)
    chain.grow(max(chain.classes, len(settings.classes)))
    return chain
