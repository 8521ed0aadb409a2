"""The reference of the public names, written from their docstrings: `python -m emulator.reference`."""

from __future__ import annotations

import enum
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType, ModuleType
from typing import TextIO

import emulator

_HEAD = """# Reference

The public names of the package `emulator`, from their docstrings. Rules in brackets are those of `wfplab contract`.
This page is written by `python -m emulator.reference`.
"""


def main() -> None:
    """Write the page to standard output."""
    write(sys.stdout)


def write(out: TextIO) -> None:
    """Write the page: a section for each module, in it its public names."""
    out.write(_HEAD)
    for module, names in sections():
        out.write(f"\n## {_title(module)}\n\n{_text(module)}\n")
        for name in names:
            _write_name(name, getattr(emulator, name), out)


def sections() -> Iterator[tuple[ModuleType, list[str]]]:
    """Each module that has public names, and these."""
    homes: dict[str, list[str]] = {}
    for name in emulator.__all__:
        homes.setdefault(getattr(emulator, name).__module__, []).append(name)
    for home, names in homes.items():
        yield import_module(home), names


def _title(module: ModuleType) -> str:
    return f"`{module.__name__}`"


def _write_name(name: str, value: object, out: TextIO) -> None:
    if isinstance(value, FunctionType):
        out.write(f"\n### `{name}{_signature(value)}`\n\n{_text(value)}\n")
        return
    assert isinstance(value, type)
    constructor = inspect.getattr_static(value, "__init__")
    plain = issubclass(value, (enum.Enum, BaseException)) or constructor is object.__init__
    made = "" if plain else _signature(constructor)
    out.write(f"\n### class `{name}{made}`\n\n{_text(value)}\n")
    if issubclass(value, enum.Enum):
        out.write("\n" + ", ".join(f"`{member}`" for member in value.__members__) + "\n")
        return
    for member, signature, text in members(value):
        out.write(f"\n- **`{member}{signature}`** {_indented(text)}\n")


def members(kind: type) -> Iterator[tuple[str, str, str]]:
    """The public methods and properties of a class that say what they are: (name, signature, text)."""
    for owner in reversed([base for base in kind.__mro__ if base.__module__.startswith(("emulator", "netns"))]):
        for name, value in vars(owner).items():
            if name.startswith("_") or vars(kind).get(name, value) is not value:
                continue
            if isinstance(value, property):
                yield name, "", inspect.getdoc(value) or ""
            elif isinstance(value, FunctionType | classmethod | staticmethod):
                yield name, _signature(getattr(kind, name)), inspect.getdoc(value) or ""


def _signature(function: object) -> str:
    """The arguments, without annotations: those are in the source, and too long here."""
    try:
        found = inspect.signature(function)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    plain = [item.replace(annotation=inspect.Parameter.empty) for item in found.parameters.values()]
    plain = [item for item in plain if item.name != "self"]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _text(value: object) -> str:
    return inspect.getdoc(value) or ""


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


if __name__ == "__main__":
    main()
