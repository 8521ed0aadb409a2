"""`wfplab new`: a scenario to start from, that runs as it is."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from emulator.run.loading import BadTarget

TEMPLATE = "starter.py.txt"


def run(name: str, out: TextIO, *, folder: Path) -> int:
    """Write NAME.py into a folder and say how to run it; returns 0.

    Raises BadTarget: NAME is no name of a Python function, or the file exists.
    """
    function = name.removesuffix(".py").replace("-", "_")
    if not function.isidentifier() or keyword.iskeyword(function):
        raise BadTarget(f"{name!r} cannot be a scenario's name: take letters, digits and `_`, a letter first")
    path = folder / f"{function}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text(function))
    except FileExistsError as error:
        raise BadTarget(f"{path.name} exists; choose another name, or remove it") from error
    except OSError as error:
        raise BadTarget(f"{path} cannot be written: {error.strerror}") from error
    out.write(f"wrote {path.name}; run it as root: wfplab run {path.name}, or pytest {path.name}\n")
    return 0


def text(function: str) -> str:
    """The contents of the file, for a scenario of this name."""
    template = (files("emulator.run") / TEMPLATE).read_text(encoding="utf-8")
    return template.replace("NAME", function)
