"""What a reader must know to run a network: it travels in every model version; torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, TypeVar, cast

from learndrop.errors import DamagedFile
from learndrop.settings import Settings

Fit = Literal["crop", "pad", "squash"]
T = TypeVar("T")
FITS = ("crop", "pad", "squash")


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network by name, and how a picture becomes its input.

    Attributes:
        name: as `networks.build` takes it.
        image_size: side of the square input, pixels.
        pixel_mean: taken off R, G, B (0 to 255).
        pixel_std: divides R, G, B after that.
        fit: how a picture that is not square becomes one.
        classes: labels in the order of the head's first rows; the head may have more.
    """

    name: str
    image_size: int
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    fit: Fit
    classes: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """What the settings name, with the classes that they give."""
        return cls(
            name=settings.network,
            image_size=settings.image_size,
            pixel_mean=settings.pixel_mean,
            pixel_std=settings.pixel_std,
            fit=settings.fit,
            classes=settings.classes,
        )

    def with_classes(self, classes: Sequence[str]) -> Self:
        """The same network with the labels known by now."""
        return replace(self, classes=tuple(classes))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; keys of a newer writer are passed over.

        Raises:
            DamagedFile: if a value is missing or of another kind.
        """
        try:
            spec = cls(
                name=_checked(data["name"], str),
                image_size=_checked(data["image_size"], int),
                pixel_mean=_three(data["pixel_mean"]),
                pixel_std=_three(data["pixel_std"]),
                fit=cast(Fit, _checked(data["fit"], str)),
                classes=tuple(_checked(label, str) for label in data["classes"]),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise DamagedFile(f"this describes no network: {exc!r}") from exc
        if spec.fit not in FITS or spec.image_size < 1 or min(spec.pixel_std) <= 0:
            raise DamagedFile(f"this describes no network: {spec}")
        return spec


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
