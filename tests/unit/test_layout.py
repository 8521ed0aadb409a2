"""The house rules that a machine can check, and that each check sees a breach."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("emulator", "netns", "tests", "bench")
LINES_OF_MODULE = 400
LINES_OF_FUNCTION = 50

# What of `emulator` may do I/O, read a clock and use `netns`. Whatever is not named here is core.
OUTER = frozenset({
    "__init__", "__main__", "bench", "checkout", "cli", "compiled", "contract", "deferred", "evidence", "loop",
    "matrix", "paths", "pytest_plugin", "reference", "rootless", "run", "scenario", "scenarios", "stack", "timing",
    "topology", "torture", "traffic", "vm",
})  # fmt: skip
NOT_IN_CORE = frozenset({
    "asyncio", "fcntl", "multiprocessing", "netfilterqueue", "netns", "pyroute2", "rich", "scapy", "select",
    "selectors", "signal", "socket", "subprocess", "tempfile", "time", "typer",
})  # fmt: skip
SLOW_TO_IMPORT = frozenset({"pytest", "rich", "scapy"})
IMPORTS_PYTEST = frozenset({"emulator/contract/plugin.py", "emulator/pytest_plugin.py", "emulator/vm/require.py"})

BANNED_MODULES = frozenset({"common", "helper", "helpers", "manager", "misc", "util", "utils"})
BANNED_CLASSES = re.compile(r"Packet|Layer|\w*(Manager|Helper|Utils?)")
CHOICES = re.compile(r"(\w+\.)?\w*(Enum|Flag)")  # an enumeration of layers is no holder of one
SHELLS = frozenset({"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp"})
BANNED_FUNCTIONS = re.compile(r"get_\w+")
MACHINE_PATHS = re.compile(r"(?<![\w.<])/(work|root|home/\w+|Users/\w+|mnt)/|\.\./shared\b")
TEXT = frozenset({"", ".md", ".py", ".sh", ".toml", ".txt", ".yml", ".yaml", ".json", ".cfg"})

UNIT_TESTS_OF_NO_MODULE = frozenset({"test_layout"})

Check = Callable[[Path], list[str]]


def modules(root: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every module under the folders, as (path below the root, syntax tree), in order of path."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text())


def imports(name: str, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The full names of what is imported; of `from a import b` both `a` and `a.b`."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def netns_imports_no_emulator(root: Path) -> list[str]:
    return [
        f"{name} imports {imported}"
        for name, tree in modules(root, "netns")
        for imported in imports(name, ast.walk(tree))
        if imported.split(".")[0] == "emulator"
    ]


def core_stays_pure(root: Path) -> list[str]:
    complaints = []
    for name, tree in modules(root, "emulator"):
        if name.removesuffix(".py").split("/")[1] in OUTER:
            continue
        for imported in imports(name, ast.walk(tree)):
            first, *rest = imported.split(".")
            if first in NOT_IN_CORE or (first == "emulator" and rest and rest[0] in OUTER):
                complaints.append(f"{name} imports {imported}")
    return complaints


def slow_imports_are_late(root: Path) -> list[str]:
    return [
        f"{name} imports {imported} at its top"
        for name, tree in modules(root, "emulator", "netns")
        for imported in imports(name, iter(tree.body))
        if imported.split(".")[0] in SLOW_TO_IMPORT
        and not (imported.startswith("pytest") and name in IMPORTS_PYTEST)
    ]


def modules_are_short(root: Path) -> list[str]:
    lengths = ((name, len((root / name).read_text().splitlines())) for name, _ in modules(root, *CODE))
    return [f"{name}: {lines} lines" for name, lines in lengths if lines > LINES_OF_MODULE]


def functions_are_short(root: Path) -> list[str]:
    complaints = []
    for name, tree in modules(root, *CODE):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = length(node) - (length(node.body[0]) if ast.get_docstring(node) else 0)
                if lines > LINES_OF_FUNCTION:
                    complaints.append(f"{name}:{node.lineno} {node.name}: {lines} lines")
    return complaints


def length(node: ast.stmt) -> int:
    """In lines, decorators aside."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def modules_say_what_they_are(root: Path) -> list[str]:
    public = modules(root, "emulator", "netns")
    return [f"{name} has no docstring" for name, tree in public if not ast.get_docstring(tree)]


def names_say_something(root: Path) -> list[str]:
    complaints = []
    for name, tree in modules(root, "emulator", "netns"):
        if BANNED_MODULES & set(name.removesuffix(".py").split("/")):
            complaints.append(f"{name}: a name that says nothing")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                chosen = any(CHOICES.fullmatch(ast.unparse(base)) for base in node.bases)
                banned = None if chosen else BANNED_CLASSES.fullmatch(node.name)
            elif isinstance(node, ast.FunctionDef):
                banned = BANNED_FUNCTIONS.fullmatch(node.name)
            else:
                continue
            if banned:
                complaints.append(f"{name}:{node.lineno} {node.name}")
    return complaints


def no_machine_paths(root: Path) -> list[str]:
    """No file names a place of one developer's machine, nor one outside of the repository."""
    complaints = []
    for path in files(root):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if found := MACHINE_PATHS.search(line):
                complaints.append(f"{path.relative_to(root).as_posix()}:{number} {found[0]}")
    return complaints


def files(root: Path) -> Iterator[Path]:
    """The text files of the repository; caches, environments and builds are not part of it."""
    for path in sorted(root.iterdir()):
        if path.name in {"build", "dist", "vm-out", "__pycache__"}:
            continue
        if path.is_dir() and (not path.name.startswith(".") or path.name == ".ci"):
            yield from files(path)
        elif path.is_file() and path.suffix in TEXT:
            yield path


def unit_tests_mirror_modules(root: Path) -> list[str]:
    """`test_queue_limits.py` is about `queue.py` or `queue_limits.py`, in the folder of the same name."""
    complaints = []
    for name, _ in modules(root, "tests/unit"):
        path = Path(name).relative_to("tests/unit")
        if not path.name.startswith("test_") or path.stem in UNIT_TESTS_OF_NO_MODULE:
            continue
        folders = [root / path.parent, root / "emulator" / path.parent]
        if path.parent == Path():
            folders.append(root / "netns")
        subject = path.stem.removeprefix("test_")
        known = (module.stem for folder in folders for module in folder.glob("*.py"))
        if not any(subject == module or subject.startswith(f"{module}_") for module in known):
            complaints.append(f"{name} is about no module")
    return complaints


def unit_tests_do_not_wait(root: Path) -> list[str]:
    return [
        f"{name}:{node.lineno} sleeps"
        for name, tree in modules(root, "tests/unit")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"sleep", "time.sleep"}
    ]


def marks_are_set_once(root: Path) -> list[str]:
    """Of a module's `pytestmark`, the last one counts, and the others say what is not so."""
    return [
        f"{name}:{node.lineno} pytestmark again"
        for name, tree in modules(root, "tests")
        for node in [each for each in tree.body if ast.unparse(each).startswith("pytestmark = ")][1:]
    ]


def no_shell_strings(root: Path) -> list[str]:
    """Programs get lists of arguments, and files no names that others can foresee."""
    complaints = []
    for name, tree in modules(root, "emulator", "netns"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in SHELLS or any(
                    word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords
                ):
                    complaints.append(f"{name}:{node.lineno} {called}")
    return complaints


# Each check with a file that breaks it, and with its complaint about that file.
BREACHES: list[tuple[Check, str, str, list[str]]] = [
    (netns_imports_no_emulator, "netns/a.py", "def f():\n    from emulator import b", [
        "netns/a.py imports emulator", "netns/a.py imports emulator.b"]),
    (core_stays_pure, "emulator/engine.py", "import socket", ["emulator/engine.py imports socket"]),
    (core_stays_pure, "emulator/engine.py", "from . import stack", [
        "emulator/engine.py imports emulator.stack"]),
    (core_stays_pure, "emulator/engine.py", "from emulator.paths.network import x", [
        "emulator/engine.py imports emulator.paths.network",
        "emulator/engine.py imports emulator.paths.network.x"]),
    (core_stays_pure, "emulator/engine.py", "from time import monotonic", [
        "emulator/engine.py imports time", "emulator/engine.py imports time.monotonic"]),
    (slow_imports_are_late, "emulator/paths/a.py", "import scapy.all", [
        "emulator/paths/a.py imports scapy.all at its top"]),
    (slow_imports_are_late, "emulator/a.py", "import pytest", ["emulator/a.py imports pytest at its top"]),
    (modules_are_short, "emulator/a.py", "x = 1\n" * 401, ["emulator/a.py: 401 lines"]),
    (functions_are_short, "netns/a.py", "def f():\n    '''a\n    b'''\n" + "    x = 1\n" * 50, [
        "netns/a.py:1 f: 51 lines"]),
    (modules_say_what_they_are, "netns/a.py", "x = 1", ["netns/a.py has no docstring"]),
    (names_say_something, "emulator/utils.py", "", ["emulator/utils.py: a name that says nothing"]),
    (names_say_something, "emulator/a.py", "class Packet: ...", ["emulator/a.py:1 Packet"]),
    (names_say_something, "netns/a.py", "class RuleManager: ...", ["netns/a.py:1 RuleManager"]),
    (names_say_something, "netns/a.py", "def get_x(): ...", ["netns/a.py:1 get_x"]),
    (no_machine_paths, "docs/a.md", "in " + "/home" + "/anna/src", ["docs/a.md:1 " + "/home" + "/anna/"]),
    (no_shell_strings, "netns/a.py", "import os\nos.system('ls')", ["netns/a.py:2 os.system"]),
    (no_shell_strings, "emulator/a.py", "subprocess.run(x, shell=y)", ["emulator/a.py:1 subprocess.run"]),
    (unit_tests_mirror_modules, "tests/unit/test_ghost.py", "", [
        "tests/unit/test_ghost.py is about no module"]),
    (unit_tests_do_not_wait, "tests/unit/test_a.py", "import time\ntime.sleep(1)", [
        "tests/unit/test_a.py:2 sleeps"]),
    (marks_are_set_once, "tests/lab/test_a.py", "pytestmark = lab\npytestmark = slow", [
        "tests/lab/test_a.py:2 pytestmark again"]),
]  # fmt: skip

CHECKS = list(dict.fromkeys(check for check, *_ in BREACHES))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_repository_keeps_the_rule(check: Check) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize(("check", "path", "text", "complaints"), BREACHES)
def test_a_breach_is_seen(check: Check, path: str, text: str, complaints: list[str], tmp_path: Path) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert check(tmp_path) == complaints


def test_the_checks_look_at_something() -> None:
    names = [name for name, _ in modules(ROOT, *CODE)]
    assert "emulator/wfptypes.py" in names
    assert "netns/errors.py" in names
    assert ROOT / "README.md" in list(files(ROOT))


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("tests/unit/test_engine.py", "emulator/engine.py"),
        ("tests/unit/test_engine_order.py", "emulator/engine.py"),
        ("tests/unit/test_veth.py", "netns/veth.py"),
        ("tests/unit/netns/test_veth.py", "netns/veth.py"),
        ("tests/unit/paths/test_queue.py", "emulator/paths/queue.py"),
    ],
)
def test_a_unit_test_of_a_module_is_at_its_place(path: str, subject: str, tmp_path: Path) -> None:
    for name in (path, subject):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert unit_tests_mirror_modules(tmp_path) == []
