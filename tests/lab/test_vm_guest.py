"""A real guest, where there is an image for one, and the Vagrantfile, where there is a vagrant."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.vm.image import Image
from emulator.vm.kernels import DEFAULT
from emulator.vm.machine import QEMU
from emulator.vm.work import cache_folder
from netns.patience import patient

pytestmark = pytest.mark.host_only("boots guests, or asks vagrant")

ROOT = Path(__file__).parents[2]

FAILING = '''
from emulator import AddressFamily, Checks, Datagrams, Pair, scenario


@scenario()
def fails_on_purpose(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A payload is expected that nobody sent."""
    check("what arrives", Datagrams(pair.host, pair.peer, family).exchange([b"sent"]), [b"expected"])
'''


def wfplab(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "emulator", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def failures(told: str) -> list[str]:
    """From the document that `run --json` printed: every check that did not hold."""
    return [
        f"{check['name']}: expected {check['expected']}, seen {check['seen']}"
        for scenario in json.loads(told)["scenarios"]
        for check in scenario["checks"]
        if not check["ok"]
    ]


@pytest.fixture
def image() -> Image:
    """The default kernel's image; building one takes minutes and a network, which is no test's business."""
    found = Image(DEFAULT, cache_folder() / DEFAULT.name)
    if not shutil.which(QEMU):
        pytest.skip(f"missing program: {QEMU}")
    if not found.is_current:
        pytest.skip("no image of a guest: sudo ./wfplab vm build")
    return found


@pytest.mark.timeout(patient(300))
def test_a_scenario_fails_in_a_guest_as_it_does_outside(image: Image, tmp_path: Path) -> None:
    scenario = tmp_path / "failing.py"
    scenario.write_text(FAILING)
    inside = wfplab("vm", "run", str(scenario), "--json", cwd=tmp_path)
    outside = wfplab("run", str(scenario), "--json", cwd=tmp_path)
    assert (inside.returncode, outside.returncode) == (1, 1)
    assert failures(inside.stdout) == failures(outside.stdout)
    assert len(failures(inside.stdout)) == 2
    assert f"wfplab vm: Linux {image.release} is up" in inside.stderr
    assert image.release != os.uname().release
    assert list(cache_folder().glob("run-*")) == []


def test_the_vagrantfile_is_valid(tmp_path: Path) -> None:
    vagrant = shutil.which("vagrant")
    if vagrant is None:
        pytest.skip("missing program: vagrant")
    # Without the machine's own providers, boxes and state.
    folders = {"VAGRANT_DOTFILE_PATH": str(tmp_path / "state"), "VAGRANT_HOME": str(tmp_path / "home")}
    environment = {**os.environ, **folders}
    command = [vagrant, "validate", "--ignore-provider"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "validated successfully" in ran.stdout
