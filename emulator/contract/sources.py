"""What a test's proof rests on: the files whose change makes its last pass worth nothing.

They are the test's own file, the one its function stands in (a scenario's), the conftest files above it, and what
these import from the tree; not what is tested, for then every change of the product would take back every proof.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

TESTED = ("emulator", "netns")
TESTING = ("emulator.scenarios",)
"""Packages that lie within a tested one and prove things themselves."""


class Sources:
    """Finds the files that items rest on, once all are imported; each is looked for and read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._installed = Path(sys.prefix)
        self._imported: dict[str, tuple[str, ...]] = {}
        self._paths: dict[str, Path | None] = {}

    def of(self, item: pytest.Item) -> tuple[str, ...]:
        """Paths relative to the root, sorted, without the item's own file."""
        names = [_module_of(item), *_conftests(item)]
        function = getattr(item, "function", None) or getattr(getattr(item, "scenario", None), "function", None)
        names.append(getattr(function, "__module__", None))
        found: dict[str, Path] = {}
        waiting = [name for name in names if name]
        while waiting:
            name = waiting.pop()
            path = self._path(name)
            if path is not None and name not in found:
                found[name] = path
                waiting += self._imports(name, path)
        paths = {path.relative_to(self._root).as_posix() for path in found.values() if path != item.path}
        return tuple(sorted(paths))

    def _path(self, name: str) -> Path | None:
        if name not in self._paths:
            self._paths[name] = self._found(name)
        return self._paths[name]

    def _found(self, name: str) -> Path | None:
        """Where a module lies, if a change of it could change what a test proves."""
        if _within(name, TESTED) and not _within(name, TESTING):
            return None
        file = getattr(sys.modules.get(name), "__file__", None)
        path = Path(file).resolve() if file else None
        if path is None or path.suffix != ".py" or self._root not in path.parents:
            return None
        # The environment stands in the tree, too.
        return None if self._root in self._installed.parents and self._installed in path.parents else path

    def _imports(self, name: str, path: Path) -> tuple[str, ...]:
        if name not in self._imported:
            package = getattr(sys.modules[name], "__package__", None) or ""
            self._imported[name] = tuple(_names(ast.parse(path.read_bytes()), package))
        return self._imported[name]


def _module_of(item: pytest.Item) -> str | None:
    for node in item.listchain():
        module = getattr(node, "obj", None)
        if isinstance(module, ModuleType) and node.path == item.path:
            return module.__name__
    return None


def _conftests(item: pytest.Item) -> Iterable[str]:
    """The conftest modules in the folders above the item, as they are named among the modules."""
    above = set(item.path.parents)
    for plugin in item.config.pluginmanager.get_plugins():
        file = getattr(plugin, "__file__", None) if isinstance(plugin, ModuleType) else None
        if file and Path(file).name == "conftest.py" and Path(file).parent in above:
            yield plugin.__name__


def _names(tree: ast.Module, package: str) -> Iterator[str]:
    """The modules that a file may import; some of the names are of what is inside one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
