"""What OpenAPI says of a request body: the three content types, with examples that work."""

from __future__ import annotations

from typing import Any

from service.bodies.sample_ids import MOST_CHARS

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4IRcFAALyAUHXL9FmAAAAAElFTkSuQmCC"
)
"""A PNG of one pixel, base64: short enough for an example that can be replayed."""
_LABEL = {"oneOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]}
_FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
_BASE64 = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "contentEncoding": "base64", "description": "JPEG, PNG or WebP."},
}
_LABELS = {"type": "array", "minItems": 1, "items": _LABEL}
_IDS = {
    "type": "array",
    "items": {"oneOf": [{"type": "string", "minLength": 1, "maxLength": MOST_CHARS},
                        {"type": "integer"}]},
    "description": "What the sender calls each sample; one that was taken before is not again.",
}  # fmt: skip
PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}
"""What OpenAPI says of a route that answers with a picture."""
_NPZ = (
    "numpy's .npz with `images`: uint8 N x height x width x 3, or N x height x width (grey){};"
    " stored or compressed; objects are refused."
)


def labelled_body() -> dict[str, Any]:
    """Pictures with a label for each."""
    labels = "; `labels`: N whole numbers or texts; and `ids` likewise, if wanted"
    example = {"images": [PIXEL], "labels": ["cat"]}
    texts = {"labels": _LABELS, "ids": _IDS}
    return _body({"images": _BASE64} | texts, {"images": _FILES} | texts,
                 example, _NPZ.format(labels))  # fmt: skip


def picture_body() -> dict[str, Any]:
    """Pictures alone."""
    return _body({"images": _BASE64}, {"images": _FILES}, {"images": [PIXEL]}, _NPZ.format(""))


def label_body() -> dict[str, Any]:
    """A label for a prediction, or a list of them."""
    one = {
        "type": "object",
        "required": ["prediction", "label"],
        "properties": {
            "prediction": {"type": "string"},
            "label": _LABEL,
            "correct": {"type": "boolean", "description": "Replace another label."},
        },
        "additionalProperties": False,
    }
    many = {
        "type": "object",
        "required": ["labels"],
        "properties": {"labels": {"type": "array", "minItems": 1, "items": one}},
        "additionalProperties": False,
    }
    example = {"labels": [{"prediction": "1764046800000-0", "label": "cat"}]}
    content = {"application/json": {"schema": {"oneOf": [one, many]}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _body(
    in_json: dict[str, Any], in_form: dict[str, Any], example: dict[str, Any], npz: str
) -> dict[str, Any]:
    def schema(fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": [name for name in fields if name != "ids"],
            "properties": fields,
            "additionalProperties": False,
        }

    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema(in_json), "example": example},
                "multipart/form-data": {"schema": schema(in_form)},
                "application/x-npz": {
                    "schema": {"type": "string", "format": "binary", "description": npz}
                },
            },
        }
    }
