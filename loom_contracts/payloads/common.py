"""Types that many payloads share. All of them fit PostgreSQL: no NUL in text, no NaN, integers of 64 bits."""

import base64
import binascii
import math
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

NO_NUL: Final = r"^[^\x00]*$"
INT64_MAX: Final = 2**63 - 1


def check_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """`value`, when PostgreSQL's jsonb can hold it; raises ValueError that names the place otherwise."""
    _check(value, "")
    return value


def _check(value: JsonValue, path: str) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError(f"text at {path or 'the top'} holds a NUL character; remove it")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"number at {path or 'the top'} is {value}; send a finite number or null")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, path)
            _check(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")


def check_base64(value: str) -> str:
    """`value`, when it is base64 of at least one byte; raises ValueError otherwise."""
    try:
        body = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not valid base64: {error}") from None
    if not body:
        raise ValueError("the base64 body is empty")
    return value


Text = Annotated[str, StringConstraints(pattern=NO_NUL)]
"""Text of any length, without NUL."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=NO_NUL)]
"""A name, type or unit: 1 to 256 characters, without NUL."""

JsonObject = Annotated[dict[str, JsonValue], AfterValidator(check_json)]
"""Any JSON object with finite numbers and no NUL."""

Base64 = Annotated[str, AfterValidator(check_base64), Field(json_schema_extra={"contentEncoding": "base64"})]
"""A body in base64, at least one byte."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256, 64 lower-case hexadecimal digits."""

Count = Annotated[int, Field(ge=0, le=INT64_MAX)]
"""How many, 64 bits."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A probability, confidence or share, 0 to 1."""

Latitude = Annotated[float, Field(ge=-90.0, le=90.0)]
"""WGS 84 latitude, decimal degrees."""

Longitude = Annotated[float, Field(ge=-180.0, le=180.0)]
"""WGS 84 longitude, decimal degrees."""


class Part(BaseModel):
    """A value inside a payload; fields that a later minor version adds are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Box(Part):
    """A rectangle in an image, as shares of its width and height from the top left corner."""

    x: Share = Field(description="Left edge.")
    y: Share = Field(description="Top edge.")
    width: Share = Field(description="Width.")
    height: Share = Field(description="Height.")


class Point(Part):
    """A named place in an image, as shares of its width and height from the top left corner."""

    name: Label = Field(description="What is there.")
    x: float = Field(description="From the left.")
    y: float = Field(description="From the top.")
    confidence: Share | None = Field(None, description="The model's confidence.")


Scores = dict[Label, Share]
"""A model's score of each class."""

Geohash = Annotated[str, StringConstraints(pattern=r"^[0-9b-hjkmnp-z]{1,12}$")]
"""A cell of the Earth by its geohash; with 8 characters, 38 m by 19 m at the equator and narrower elsewhere."""
