"""From plain values, as YAML gives them, to frozen dataclasses: every key known, every value of its kind."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

from vlreward.errors import ConfigError, describe_unknown

ConfigT = TypeVar("ConfigT")


def build(cls: type[ConfigT], value: Any, where: str) -> ConfigT:
    """Make a dataclass of ``value``, a mapping of its fields; fields that are dataclasses are made likewise.

    Args:
        cls: a dataclass; its fields are text, numbers, truth values, literals, mappings, tuples or dataclasses.
        value: the mapping.
        where: starts every error: the file and the keys down to here.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named) or missing, or a value is not of its kind or, as
            the dataclass itself finds, impossible.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected keys and values, got {_shown(value)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise ConfigError(f"{where}: {describe_unknown(str(key), fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise ConfigError(f"{where}: no {name!r}; it has no default")
    hints = typing.get_type_hints(cls)
    made = {key: _convert(hints[key], item, f"{where}: {key}") for key, item in value.items()}
    try:
        return cls(**made)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        return _convert(inner[0], value, where)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: expected one of {', '.join(map(repr, arguments))}, got {_shown(value)}")
        return value
    if origin is tuple:
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            raise ConfigError(f"{where}: expected a list, got {_shown(value)}")
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    return _convert_scalar(origin or hint, value, where)


def _convert_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and not isinstance(value, bool):
        # YAML 1.1 takes 1e-5, without a point, for text.
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif kind in (dict, Mapping) or typing.get_origin(kind) is dict:
        if isinstance(value, Mapping):
            return dict(value)
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", dict: "keys and values"}
    raise ConfigError(f"{where}: expected {names.get(kind, str(kind))}, got {_shown(value)}")


def _shown(value: Any) -> str:
    return f"{value!r:.60}"


def plain(value: Any) -> Any:
    """A dataclass as `build` takes it: mappings, lists and scalars, for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def positive(name: str, value: float | None) -> None:
    """Refuse a value that is there and not above 0.

    Raises:
        ConfigError: it is not.
    """
    if value is not None and not value > 0:
        raise ConfigError(f"{name} must be above 0, got {value}")


def not_negative(name: str, value: float) -> None:
    """Refuse a value below 0.

    Raises:
        ConfigError: it is.
    """
    if value < 0:
        raise ConfigError(f"{name} must not be below 0, got {value}")
