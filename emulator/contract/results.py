"""What the tests that name contract rules did when they last ran: one JSON document beside the sources."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

RESULTS = Path("build/contract-results.json")
"""Where the document lies, below the root of the source tree."""

_FORMAT = 2


class Outcome(StrEnum):
    """How a test ended; only a plain pass proves anything."""

    PASSED = "passed"
    FAILED = "failed"
    """In its setup, its call or its teardown."""
    XFAILED = "xfailed"
    """A known defect: the rule is broken, and the test says so."""
    XPASSED = "xpassed"
    SKIPPED = "skipped"
    UNFINISHED = "unfinished"
    """Chosen for the last run, which ended before the test did."""

    @property
    def proves(self) -> bool:
        """Whether the rules the test names may count as covered."""
        return self is Outcome.PASSED

    @property
    def refutes(self) -> bool:
        """Whether the rules the test names may not count as covered, whatever other tests say."""
        return self in (Outcome.FAILED, Outcome.XFAILED)


@dataclass(frozen=True, slots=True)
class Proof:
    """One test that names rules, and the end of its last run."""

    node: str
    """The test's id, as pytest writes it."""
    rules: tuple[str, ...]
    file: str
    """The test's file, relative to the root of the tree."""
    digest: str
    """What `Digests` said of `files` when the test was collected."""
    outcome: Outcome
    ended: str | None
    """UTC, ISO 8601; None for a test that did not end."""
    rests_on: tuple[str, ...] = ()
    """The other files of the tree that say what the test does: its scenario, what it shares with other tests."""
    cases: tuple[str, ...] = ()
    """The acceptance cases it names."""

    @property
    def files(self) -> tuple[str, ...]:
        """All files that the digest is of."""
        return (self.file, *self.rests_on)


class ResultsUnreadable(Exception):
    """The document is damaged or of another format; removing it loses only the record of past runs."""


class Digests:
    """SHA-256 of files below a root, in hexadecimal; each file is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._of_file: dict[str, str | None] = {}

    def of(self, files: Iterable[str]) -> str | None:
        """One for all of them, in this order; None when one cannot be read."""
        whole = hashlib.sha256()
        for file in files:
            if file not in self._of_file:
                self._of_file[file] = _digest(self._root / file)
            one = self._of_file[file]
            if one is None:
                return None
            whole.update(f"{one} {file}\n".encode())
        return whole.hexdigest()


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def load(root: Path) -> dict[str, Proof]:
    """The recorded tests below `root` by id; empty when no run was recorded.

    Raises ResultsUnreadable.
    """
    path = root / RESULTS
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ResultsUnreadable(f"{path}: {error.strerror}") from error
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT:
            raise ResultsUnreadable(f"{path}: another format; run the tests again")
        return {node: _proof(node, fields) for node, fields in document["tests"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsUnreadable(f"{path} is damaged ({error}); run the tests again") from error


def update(root: Path, change: Callable[[Mapping[str, Proof]], Mapping[str, Proof]]) -> None:
    """Replace the recorded tests by what `change` makes of them; a damaged document counts as empty.

    Sessions that end together wait for each other; a reader sees the old or the new document, never a part.
    Raises OSError when the folder cannot be written.
    """
    path = root / RESULTS
    path.parent.mkdir(exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        try:
            old = load(root)
        except ResultsUnreadable:
            old = {}
        _replace(path, change(old))


def _proof(node: str, fields: Mapping[str, object]) -> Proof:
    rules, ended, rests_on, cases = fields["rules"], fields["ended"], fields["rests_on"], fields.get("cases", [])
    if not isinstance(rules, list) or not isinstance(rests_on, list) or not isinstance(cases, list):
        raise TypeError(f"rules, cases or files of {node}")
    return Proof(
        node=node,
        rules=tuple(str(rule) for rule in rules),
        file=str(fields["file"]),
        digest=str(fields["digest"]),
        outcome=Outcome(str(fields["outcome"])),
        ended=None if ended is None else str(ended),
        rests_on=tuple(str(file) for file in rests_on),
        cases=tuple(str(case) for case in cases),
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, proofs: Mapping[str, Proof]) -> None:
    tests = {}
    for node in sorted(proofs):
        tests[node] = asdict(proofs[node])
        del tests[node]["node"]
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "tests": tests}, file, indent=1)
            file.write("\n")
            os.fchmod(file.fileno(), 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
