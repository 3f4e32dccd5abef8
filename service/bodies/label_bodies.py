"""A JSON body of labels for predictions: one, or a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from learndrop.errors import BadInput, TooLarge
from service.bodies.batches import BatchLimits
from service.bodies.json_bodies import check_fields, read_object

ONE = ("prediction", "label", "correct")
MANY = ("labels",)


@dataclass(frozen=True, slots=True)
class Asked:
    """A label as it was sent; whether it is one is asked for each alone.

    Attributes:
        prediction: id of the prediction.
        label: a name or a whole number, unless the sender made a mistake.
        correct: whether it may replace another one.
    """

    prediction: str
    label: Any
    correct: bool = False


def read_labels(body: bytes | bytearray, limits: BatchLimits) -> list[Asked] | Asked:
    """Read `{"prediction", "label", "correct"}`, or `{"labels": [...]}` of such objects.

    Raises:
        BadBody, BadInput, TooLarge: if it is neither.
    """
    told = read_object(body, MANY + ONE, limits)
    if "labels" not in told:
        return _asked(told, "body")
    rows = told["labels"]
    check_fields(told, MANY, "body")
    if not isinstance(rows, list) or not rows:
        raise BadInput("labels are no list, or an empty one", item="labels")
    if len(rows) > limits.images:
        raise TooLarge(
            f"{len(rows)} labels, the limit is {limits.images} in one request",
            item="labels",
            limit=limits.images,
            value=len(rows),
        )
    return [_asked(row, f"labels[{n}]") for n, row in enumerate(rows)]


def _asked(told: Any, item: str) -> Asked:
    check_fields(told, ONE, item)
    prediction, correct = told.get("prediction"), told.get("correct", False)
    if not isinstance(prediction, str):
        raise BadInput(f"{item} names no prediction: its id as text", item=item)
    if not isinstance(correct, bool):
        raise BadInput(f"{item}: correct is true or false", item=item)
    if "label" not in told:
        raise BadInput(f"{item} has no label", item=item)
    return Asked(prediction, told["label"], correct)
