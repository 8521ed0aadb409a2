"""The stock kernels that `wfplab vm` can boot, each with the distribution it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netns.errors import LabError

MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://deb.debian.org/debian-security"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One distribution's kernel, unchanged, with that distribution's own programs and Python around it."""

    name: str
    summary: str
    suite: str
    python: str
    """The suite's Python, as `3.11`."""
    package: str = "linux-image-cloud-amd64"
    backports: bool = False
    """Whether the kernel is taken from the suite's backports; everything else is not."""

    def sources(self) -> list[str]:
        """The lines of its sources.list, security updates included."""
        signed = f"[signed-by={KEYRING}]"
        lines = [
            f"deb {signed} {MIRROR} {self.suite} main",
            f"deb {signed} {MIRROR} {self.suite}-updates main",
            f"deb {signed} {SECURITY_MIRROR} {self.suite}-security main",
        ]
        if self.backports:
            lines.append(f"deb {signed} {MIRROR} {self.suite}-backports main")
        return lines

    @property
    def requested(self) -> str:
        """What apt is asked for."""
        return f"{self.package}/{self.suite}-backports" if self.backports else self.package


KERNELS = (
    Kernel("bookworm", "Debian 12's own kernel, Linux 6.1", "bookworm", "3.11"),
    Kernel("bookworm-backports", "Debian 12 with Debian 13's kernel, Linux 6.12", "bookworm", "3.11", backports=True),
    Kernel("trixie", "Debian 13's own kernel, Linux 6.12", "trixie", "3.13"),
    Kernel("trixie-backports", "Debian 13 with the newest kernel packaged for it", "trixie", "3.13", backports=True),
)
DEFAULT = KERNELS[0]


class UnknownKernel(LabError):
    """Raised for a name that no kernel has."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no kernel {name}; there are {', '.join(kernel.name for kernel in KERNELS)}")


def kernels_named(names: Sequence[str]) -> list[Kernel]:
    """The kernels of these names, in this order; all for `all`, the default one for none. Raises UnknownKernel."""
    known = {kernel.name: kernel for kernel in KERNELS}
    chosen: dict[str, Kernel] = {}
    for name in names or (DEFAULT.name,):
        if name == "all":
            chosen |= known
        elif name in known:
            chosen[name] = known[name]
        else:
            raise UnknownKernel(name)
    return list(chosen.values())
