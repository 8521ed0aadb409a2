"""What images are made of, and when they are made again."""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path

import pytest

from emulator.vm import image as vmimage
from emulator.vm.image import BASE_PACKAGES, LAUNCHER_PACKAGES, Image, ensure_image, recipe_of, requirements
from emulator.vm.kernels import KERNELS
from netns.errors import MissingFeature

ROOT = Path(__file__).parents[3]
KERNEL = KERNELS[0]


def described(folder: Path, recipe: str) -> Image:
    image = Image(KERNEL, folder)
    folder.mkdir()
    image.recipe.write_text(json.dumps({"release": "6.1.0-test", "recipe": recipe}))
    return image


def unexpected(*_: object) -> None:
    raise AssertionError("a step of the build")


def test_the_guest_has_every_package_of_the_launcher() -> None:
    head = (ROOT / "wfplab").read_text().partition("for_bench=")[0]
    packages = set(re.findall(r"=([a-z][a-z0-9-]+)(?=['\s])", head))
    assert {"nftables", "gcc", "tshark", "libnetfilter-queue-dev"} <= packages
    assert packages - {*BASE_PACKAGES, *LAUNCHER_PACKAGES} == set()


def test_the_guest_has_what_the_project_needs_tests_included() -> None:
    found = requirements()
    assert any(line.startswith("scapy>=") for line in found)
    assert any(line.startswith("pytest>=") for line in found)
    assert not any(";" in line for line in found)
    assert not any(line.startswith("matplotlib") for line in found), "that is for the bench alone"


def test_a_current_image_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmimage, "_call", unexpected)
    image = described(tmp_path / KERNEL.name, recipe_of(KERNEL))
    assert image.is_current
    assert ensure_image(KERNEL, tmp_path, unexpected) == image
    assert image.release == "6.1.0-test"


def test_another_mirror_or_kernel_is_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = {recipe_of(kernel) for kernel in KERNELS}
    monkeypatch.setenv("WFPLAB_DEBIAN_MIRROR", "http://mirror.example/debian")
    recipes |= {recipe_of(kernel) for kernel in KERNELS}
    assert len(recipes) == 2 * len(KERNELS)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in the way of a build."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(vmimage, "find_program", lambda name: name)
    monkeypatch.setattr(vmimage, "KEYRING", "/")


@pytest.mark.usefixtures("as_root")
def test_an_image_by_another_recipe_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = described(tmp_path / KERNEL.name, "old")
    said: list[str] = []

    def build(kernel: object, place: Path, say: object) -> None:
        said.append(place.parent.name)
        described(place / "image", recipe_of(KERNEL))

    monkeypatch.setattr(vmimage, "_build", build)
    assert not image.is_current
    assert ensure_image(KERNEL, tmp_path, unexpected).is_current
    assert said == [tmp_path.name]
    assert [path.name for path in tmp_path.iterdir()] == [KERNEL.name]


@pytest.mark.usefixtures("as_root")
def test_a_failed_build_leaves_the_old_image_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = described(tmp_path / KERNEL.name, "old")
    monkeypatch.setattr(vmimage, "_build", unexpected)
    with pytest.raises(AssertionError, match="a step of the build"):
        ensure_image(KERNEL, tmp_path, unexpected)
    assert image.release == "6.1.0-test"
    assert [path.name for path in tmp_path.iterdir()] == [KERNEL.name]


@pytest.mark.usefixtures("as_root")
def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".new-dead" / "root").mkdir(parents=True)
    monkeypatch.setattr(vmimage, "_build", unexpected)
    with pytest.raises(AssertionError):
        ensure_image(KERNEL, tmp_path, unexpected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("as_root")
def test_who_has_to_wait_for_another_build_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(another, fcntl.LOCK_EX)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        described(tmp_path / KERNEL.name, recipe_of(KERNEL))
        os.close(another)

    monkeypatch.setattr(vmimage, "_build", unexpected)
    assert ensure_image(KERNEL, tmp_path, say).is_current
    assert said == ["waiting for another command, which is building an image"]


def test_only_root_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(vmimage, "find_program", lambda name: name)
    monkeypatch.setattr(vmimage, "KEYRING", "/")
    with pytest.raises(MissingFeature, match="sudo wfplab vm build"):
        ensure_image(KERNEL, tmp_path / "cache", unexpected)
    assert not (tmp_path / "cache").exists()
