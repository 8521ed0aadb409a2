"""Finding scenarios by what was asked for: a name, a file, or FILE::NAME."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from emulator.scenario import BadScenario, Scenario, scenarios_in


class BadTarget(Exception):
    """Raised for what cannot be run as it was asked for: wrong usage, not a failure."""


class UnknownScenario(BadTarget):
    """Raised for a name that no scenario has."""

    def __init__(self, name: str, known: Sequence[str], where: str = "") -> None:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}" if near else ""
        if where:
            super().__init__(f"{where} has no scenario {name or repr('')}{hint}; it has {', '.join(known)}")
        else:
            super().__init__(f"there is no scenario {name or repr('')}{hint}; `wfplab list` shows all")


def built_in() -> list[Scenario]:
    """All scenarios that come with the project, in the order of their modules' names."""
    import emulator.scenarios as package

    found: list[Scenario] = []
    for item in iter_modules(package.__path__):
        found += scenarios_in(import_module(f"{package.__name__}.{item.name}"))
    return found


def chosen(targets: Iterable[str]) -> list[Scenario]:
    """The scenarios asked for, in that order; all that come with the project, if none is.

    Raises BadTarget (UnknownScenario for a name), also for scenarios that cannot be run as they are written.
    """
    wanted = list(targets)
    found = [item for target in wanted for item in _of(target)] if wanted else built_in()
    for item in found:
        try:
            item.beds()
        except BadScenario as error:
            raise BadTarget(f"{item.file}: {error}" if item.file else str(error)) from error
    return list(dict.fromkeys(found))


def _of(target: str) -> list[Scenario]:
    path, separator, name = target.partition("::")
    if not separator and not _is_file_like(path):
        return [_named(path, built_in())]
    items = in_file(path)
    return [_named(name, items, path)] if separator else items


def _is_file_like(target: str) -> bool:
    return target.endswith(".py") or "/" in target or target in (".", "..")


def _named(name: str, items: Sequence[Scenario], where: str = "") -> Scenario:
    known = {item.name: item for item in items}
    if name not in known:
        raise UnknownScenario(name, list(known), where)
    return known[name]


def in_file(path: str) -> list[Scenario]:
    """The scenarios of a Python file; other modules beside it can be imported by it.

    Raises BadTarget: no such file, it cannot be imported, or it has no scenario.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder; name a file in it" if file.is_dir() else "does not exist"
        raise BadTarget(f"{path} {what}")
    module = _imported(file)
    found = [replace(item, file=path) for item in scenarios_in(module)]
    if not found:
        raise BadTarget(f"{path} has no scenario: a function with `@scenario()` on the line above it")
    return found


def _imported(file: Path) -> ModuleType:
    name = f"wfplab_file_{file.stem}_{abs(hash(file.resolve())):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadTarget(f"{file} is no Python file: its name has to end in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look the module up by its name
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except BadScenario as error:
        del sys.modules[name]
        raise BadTarget(f"{_place(file, error)}: {error}") from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BadTarget(f"{_place(file, error)}: it cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _place(file: Path, error: BaseException) -> str:
    """The file with the line at which importing it stopped."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{file}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file.absolute()]
    return f"{file}:{lines[-1]}" if lines else str(file)
