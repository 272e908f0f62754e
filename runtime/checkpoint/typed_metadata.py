"""Metadata values of the type that the caller needs, or an error that names the key."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar

import numpy as np

from slipstream.runtime.checkpoint.byte_reader import shown
from slipstream.runtime.errors import CheckpointError


class Required:
    """The type of `REQUIRED`."""


REQUIRED: Final = Required()
"""In place of a default: a file without the key is no use."""

_MAX_INT = 2**31 - 1

_Default = TypeVar("_Default")
_Value = TypeVar("_Value")


class TypedMetadata:
    """Typed access to metadata. `path` names the file in errors.

    Every getter raises CheckpointError, saying what was expected and what was found, for a value of
    another type or out of range, and for a missing key that has no default.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self.path = path
        self._metadata: Mapping[str, Any] | None = metadata

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Values by key: int, float, bool, str, read-only NumPy array, or a sequence of str."""
        if self._metadata is None:
            raise ValueError(f"{self.path} is closed")
        return self._metadata

    def get_int(
        self,
        key: str,
        default: _Default | Required = REQUIRED,
        *,
        minimum: int = 0,
        maximum: int = _MAX_INT,
    ) -> int | _Default:
        """A whole number in minimum..maximum. A file may say anything: state tight limits."""

        def convert(value: object) -> int | None:
            return value if _is_int(value) and minimum <= value <= maximum else None

        return self._get(key, default, f"a whole number from {minimum} to {maximum}", convert)

    def get_ints(
        self,
        key: str,
        default: _Default | Required = REQUIRED,
        *,
        minimum: int = 0,
        maximum: int = _MAX_INT,
    ) -> tuple[int, ...] | _Default:
        """Whole numbers in minimum..maximum: a list, or a single number as a list of one."""

        def convert(value: object) -> tuple[int, ...] | None:
            numbers: list[int]
            if _is_int(value):
                numbers = [value]
            elif isinstance(value, np.ndarray) and value.dtype.kind in "iu":
                numbers = value.tolist()
            else:
                return None
            in_range = all(minimum <= number <= maximum for number in numbers)
            return tuple(numbers) if in_range else None

        return self._get(key, default, f"whole numbers from {minimum} to {maximum}", convert)

    def get_float(self, key: str, default: _Default | Required = REQUIRED) -> float | _Default:
        """A finite number."""

        def convert(value: object) -> float | None:
            if _is_int(value) or isinstance(value, float):
                return float(value) if math.isfinite(value) else None
            return None

        return self._get(key, default, "a finite number", convert)

    def get_bool(self, key: str, default: _Default | Required = REQUIRED) -> bool | _Default:
        """True or false."""
        return self._get(
            key, default, "true or false", lambda value: value if isinstance(value, bool) else None
        )

    def get_str(self, key: str, default: _Default | Required = REQUIRED) -> str | _Default:
        """A text."""
        return self._get(
            key, default, "text", lambda value: value if isinstance(value, str) else None
        )

    def _get(
        self,
        key: str,
        default: _Default | Required,
        expected: str,
        convert: Callable[[object], _Value | None],
    ) -> _Value | _Default:
        """The converted value; `convert` gives None for one that is not what is expected."""
        if key in self.metadata:
            value = convert(self.metadata[key])
            if value is None:
                raise CheckpointError(
                    f"{self.path}: metadata key {key!r} should be {expected}, "
                    f"got {_described(self.metadata[key])}"
                )
            return value
        if isinstance(default, Required):
            raise CheckpointError(
                f"{self.path}: the metadata has no key {key!r}, which should be {expected}; "
                "the file is not a complete language model"
            )
        return default


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _described(value: object) -> str:
    """A metadata value in a message, cut when it is long."""
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, np.ndarray):
        return f"a list of {value.size} {value.dtype} values"
    return "a list of texts"
