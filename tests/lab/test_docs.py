"""Every example of the documents, as a new user would type it.

In a document a comment says what the block after it is: `<!-- file: NAME -->` writes it, `<!-- add to: NAME -->`
appends it, `<!-- not run -->` leaves it alone. `<!-- replace in NAME: OLD => NEW -->` and `<!-- restore NAME -->`
change a file for what follows. In a console block every `$` line is run, and the other lines have to appear in its
output, in this order; `...` stands for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from netns.patience import patient

pytestmark = pytest.mark.host_only("follows the documents as their reader would, with a run for every example")

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/tutorial.md", "docs/cookbook.md", "docs/troubleshooting.md", "docs/paths.md")
SEQUENCE = re.compile(r"<!-- (?P<comment>.*?) -->|^```(?P<kind>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "wfplab": [sys.executable, "-P", "-m", "emulator"],
    "pytest": [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider"],
}
LONGEST_SECONDS = patient(120)


@dataclass
class Reader:
    """Does in a folder what a document says, block by block."""

    folder: Path
    written: dict[str, str] = field(default_factory=dict)
    ran: int = 0

    def follow(self, document: str) -> None:
        comment = ""
        for match in SEQUENCE.finditer(document):
            if match["comment"] is not None:
                comment = match["comment"]
                self._change(comment)
            else:
                self._block(match["kind"], match["text"], comment)
                comment = ""

    def _change(self, comment: str) -> None:
        if comment.startswith("replace in "):
            name, _, change = comment.removeprefix("replace in ").partition(": ")
            old, _, new = change.partition(" => ")
            before = (self.folder / name).read_text()
            assert before.count(old) == 1, f"{old!r} is not in {name} once"
            (self.folder / name).write_text(before.replace(old, new))
        elif comment.startswith("restore "):
            name = comment.removeprefix("restore ")
            (self.folder / name).write_text(self.written[name])

    def _block(self, kind: str, text: str, comment: str) -> None:
        if kind == "python":
            verb, _, name = comment.partition(": ")
            assert verb in ("file", "add to"), f"which file is this?\n{text}"
            before = (self.folder / name).read_text() + "\n" if verb == "add to" else ""
            self.written[name] = before + text
            (self.folder / name).write_text(self.written[name])
        elif kind == "console" and comment != "not run":
            for command, expected in commands(text):
                self._run(command, expected)

    def _run(self, command: str, expected: list[str]) -> None:
        program, *arguments = shlex.split(command.removeprefix("sudo "))
        ran = subprocess.run(
            [*PROGRAMS[program], *arguments], cwd=self.folder, text=True, timeout=LONGEST_SECONDS, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(),
        )  # fmt: skip
        self.ran += 1
        lines = iter(ran.stdout.splitlines())
        for wanted in expected:
            pattern = re.escape(wanted.rstrip()).replace(re.escape("..."), ".*")
            assert any(re.fullmatch(pattern, line.rstrip()) for line in lines), (
                f"`{command}` did not write {wanted!r} (after what stands before it) but:\n{ran.stdout}"
            )


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the lines shown after it."""
    command, shown = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:].partition("  #")[0], []
        elif line.strip():
            shown.append(line)
    yield command, shown


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}


@pytest.mark.timeout(patient(300))
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_example_does_what_the_document_says(document: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow((ROOT / document).read_text())
    assert reader.ran or "```console" not in (ROOT / document).read_text()


def test_every_document_with_examples_is_followed() -> None:
    with_examples = {
        path.relative_to(ROOT).as_posix()
        for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        if "<!-- file: " in path.read_text()
    }
    assert with_examples <= set(DOCUMENTS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- file: a.py -->\n```python\nx\n```\n```console\n$ wfplab run a.py\nwell\n```\n", "did not write"),
        ("```python\nx = 1\n```\n", "which file is this"),
        ("<!-- file: a.py -->\n```python\nx\n```\n<!-- replace in a.py: y => z -->\n", "'y' is not in a.py once"),
    ],
)
def test_a_document_that_is_wrong_is_noticed(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=told):
        Reader(tmp_path).follow(text)


def test_troubleshooting_explains_every_name_that_doctor_uses() -> None:
    from netns.catalogue import KERNEL, NFQUEUE, PROGRAMS, TPROXY
    from netns.features import CABLES, NAMESPACES

    names = {NAMESPACES, CABLES, *(probe.name for probe in KERNEL), *(f"program {each.name}" for each in PROGRAMS)}
    names |= {name.format(version) for name in (NFQUEUE, TPROXY) for version in (4, 6)}
    table = (ROOT / "docs" / "troubleshooting.md").read_text().partition("## Messages")[0]
    explained = set(re.findall("`([^`]+)`", table))
    assert names - explained == set()
