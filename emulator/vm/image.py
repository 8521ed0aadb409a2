"""Images for `wfplab vm`: a root disk with a stock kernel and all the lab needs, built once from packages."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from emulator.vm.first import first_program, write_first_disk
from emulator.vm.kernels import KEYRING, MIRROR, Kernel
from netns.errors import MissingFeature, ProgramFailed
from netns.process import find_program, owned_argv

Say = Callable[[str], None]

FORMAT = 1
"""Counts what of this module changes an image but is not in its recipe."""

BASE_PACKAGES = ("busybox-static", "ca-certificates", "ethtool", "kmod", "mount", "netbase", "python3", "tar")
LAUNCHER_PACKAGES = (
    "bind9-dnsutils", "curl", "dnsmasq-base", "gcc", "iperf3", "iproute2", "iptables", "iputils-ping", "libc6-dev",
    "libnetfilter-queue-dev", "libnfnetlink-dev", "nftables", "nginx", "openssh-client", "openssh-server", "openssl",
    "procps", "python3-dev", "python3-venv", "socat", "traceroute", "tshark",
)  # fmt: skip
"""What `./wfplab test` would install, so that in the guest it finds nothing missing."""

BUILD_REQUIREMENTS = ("cython", "setuptools", "wheel")
FROM_SOURCE = "netfilterqueue"
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
SPARE_OCTETS = 512 << 20
HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True, slots=True)
class Image:
    """One built image; its files belong to the cache and are never written again."""

    kernel: Kernel
    folder: Path

    @property
    def root_disk(self) -> Path:
        return self.folder / "root.img"

    @property
    def first_disk(self) -> Path:
        """The initial RAM disk."""
        return self.folder / "first.cpio.gz"

    @property
    def linux(self) -> Path:
        """The kernel itself, as the bootloader would load it."""
        return self.folder / "vmlinuz"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.json"

    @property
    def release(self) -> str:
        """The kernel's `uname -r`, or nothing while there is no image."""
        return str(json.loads(self.recipe.read_text())["release"]) if self.recipe.exists() else ""

    @property
    def is_current(self) -> bool:
        """Whether it is there, and built by the recipe of now."""
        return self.recipe.exists() and json.loads(self.recipe.read_text())["recipe"] == recipe_of(self.kernel)


def recipe_of(kernel: Kernel) -> str:
    """A digest of all that decides what an image is made of."""
    packages = (*BASE_PACKAGES, *LAUNCHER_PACKAGES)
    parts = [FORMAT, asdict(kernel), packages, requirements(), BUILD_REQUIREMENTS, _mirror(), first_program().decode()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def requirements() -> list[str]:
    """What the project needs of Python packages, tests included, as pip reads it."""
    from importlib.metadata import requires

    lines = (line.partition(";") for line in requires("wfplab") or ())
    return sorted({name.strip() for name, _, when in lines if "extra ==" not in when or "test" in when})


def ensure_image(kernel: Kernel, cache: Path, say: Say, *, anew: bool = False) -> Image:
    """The image of `kernel` below `cache`; built, as root and from the network, if it is not current.

    Two that build at once wait for each other, and say so. Raises MissingFeature, ProgramFailed.
    """
    image = Image(kernel, cache / kernel.name)
    if image.is_current and not anew:
        return image
    for program in ("mmdebstrap", "mke2fs", "chroot"):
        find_program(program)
    if not os.path.exists(KEYRING):
        raise MissingFeature(f"file {KEYRING}", detail="the package debian-archive-keyring has it")
    if os.geteuid() != 0:
        raise MissingFeature("root", detail=f"an image for {kernel.name} has to be built, once: sudo wfplab vm build")
    cache.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(cache, say):
        if anew or not image.is_current:
            with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as name:
                _build(kernel, Path(name), say)
                shutil.rmtree(image.folder, ignore_errors=True)
                os.rename(Path(name, "image"), image.folder)
    return image


@contextmanager
def _one_at_a_time(cache: Path, say: Say) -> Iterator[None]:
    folder = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command, which is building an image")
            fcntl.flock(folder, fcntl.LOCK_EX)
        for left_behind in cache.glob(".new-*"):  # by a build that was killed: it would hold the lock
            shutil.rmtree(left_behind, ignore_errors=True)
        yield
    finally:
        os.close(folder)


def _build(kernel: Kernel, place: Path, say: Say) -> None:
    root, wheels, folder = place / "root", place / "wheels", place / "image"
    folder.mkdir()
    say(f"building the image of {kernel.name} ({kernel.summary}); once, a minute or two")
    _download_wheels(kernel, wheels)
    packages = ",".join((*BASE_PACKAGES, *LAUNCHER_PACKAGES, kernel.requested))
    _call_apart([
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={packages}",
        '--aptopt=Acquire::Check-Valid-Until "false"', kernel.suite, str(root), *_sources(kernel),
    ])  # fmt: skip
    _install_wheels(root, wheels)
    (root / "etc/hosts").write_text(HOSTS)
    for mounted in ("job", "project"):
        (root / mounted).mkdir()
    [modules] = (root / "lib/modules").iterdir()
    release = modules.name
    shutil.copyfile(root / "boot" / f"vmlinuz-{release}", folder / "vmlinuz")
    write_first_disk(root, release, folder / "first.cpio.gz")
    _make_root_disk(root, folder / "root.img")
    described = {"kernel": kernel.name, "release": release, "recipe": recipe_of(kernel)}
    (folder / "recipe.json").write_text(json.dumps(described) + "\n")
    say(f"built: Linux {release}, {(folder / 'root.img').stat().st_blocks * 512 >> 20} MiB on disk")


def _mirror() -> str:
    return os.environ.get("WFPLAB_DEBIAN_MIRROR", MIRROR)


def _sources(kernel: Kernel) -> list[str]:
    return [line.replace(f"{MIRROR} ", f"{_mirror()} ") for line in kernel.sources()]


def _download_wheels(kernel: Kernel, wheels: Path) -> None:
    """Everything pip needs in the guest, which has no network; what has no wheel is built there."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    target = ["--implementation=cp", f"--python-version={kernel.python}", *(f"--platform={name}" for name in PLATFORMS)]
    built = [line for line in requirements() if line.lower().startswith(FROM_SOURCE)]
    ready = [line for line in requirements() if line not in built]
    _call([*pip, f"--dest={wheels}", "--only-binary=:all:", *target, *ready, *BUILD_REQUIREMENTS])
    _call([*pip, f"--dest={wheels}", "--no-deps", f"--no-binary={FROM_SOURCE}", *built])


def _install_wheels(root: Path, wheels: Path) -> None:
    inside = root / "var/tmp/wheels"
    shutil.move(wheels, inside)
    _in_root(root, ["python3", "-m", "venv", "/opt/wfplab"])
    install = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--no-index"]
    _in_root(root, ["/opt/wfplab/bin/python", *install, "--find-links=/var/tmp/wheels", *requirements()])
    shutil.rmtree(inside)
    [packages] = (root / "opt/wfplab/lib").glob("python3*/site-packages")
    (root / "opt/wfplab/site-packages").symlink_to(packages.relative_to(root / "opt/wfplab"))


def _make_root_disk(root: Path, disk: Path) -> None:
    for unneeded in (*(root / "boot").iterdir(), *(root / "var/cache/apt").iterdir()):
        shutil.rmtree(unneeded) if unneeded.is_dir() else unneeded.unlink()
    make_disk(root, disk, spare_octets=SPARE_OCTETS)


def make_disk(folder: Path, disk: Path, *, spare_octets: int) -> None:
    """Make `disk` an ext4 file system with what is in `folder`. Raises ProgramFailed, MissingFeature."""
    blocks = sum((path.lstat().st_size + 8191) // 4096 for path in folder.rglob("*"))
    size_mib = (blocks * 4096 * 11 // 10 + spare_octets) >> 20
    options = ["-q", "-F", "-t", "ext4", "-m", "0", "-b", "4096", "-O", "^has_journal"]
    _call(["mke2fs", *options, "-d", str(folder), str(disk), f"{size_mib + 4}M"])


def _in_root(root: Path, argv: Sequence[str]) -> None:
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    _call_apart(["chroot", str(root), *argv], environment)


def _call_apart(argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run a step in mount and process namespaces of its own: when we are killed, so is all it has started, and
    what it has mounted below the new root is gone before anybody removes that root."""
    apart = ["unshare", "--mount-proc", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"]
    _call(owned_argv([*apart, find_program(argv[0]), *argv[1:]]), environment)


def _call(argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run a step of the build; its output is kept aside, and is in the error if it fails."""
    command = [find_program(argv[0]), *argv[1:]]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    if ran.returncode:
        raise ProgramFailed(argv, ran.returncode, ran.stderr or ran.stdout)
