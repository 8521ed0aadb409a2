"""Root of one's own, for an ordinary user: a user, a mount and a network namespace around this process.

Inside, the user is root over what the process itself makes, and nothing else: no file, device, process or
network of the machine becomes writable. What is below /run is private and gone with the process.
"""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from netns import settings, syscalls
from netns.errors import LabError, MissingFeature, refused

FEATURE = "user namespaces for ordinary users"
OPTION = "--rootless"
_REASONS = (
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces is 0"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone is 0"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns is 1, and no AppArmor profile allows it for Python",
    ),
)
_HOW = ("unshare", "--user", "--map-root-user", "--net", "--mount")
_NOBODY = "65534"
_inside: list[str] = []
"""The user namespace that `enter` made; the processes that are started later are in it too."""


def entered() -> bool:
    """Whether this process is inside, by its own `enter` or by that of whoever started it."""
    return bool(_inside) or os.environ.get(MARK) == _user_namespace()


MARK = "WFPLAB_ROOTLESS"
"""Tells children which user namespace it was; one that was left since does not count."""


def _user_namespace() -> str:
    return os.readlink("/proc/self/ns/user")


def enter() -> None:
    """Become root of one's own; called once, before the process has a second thread. There is no way back.

    Raises MissingFeature when the kernel does not let this user, LabError when there are threads already.
    """
    if entered():
        return
    if threading.active_count() > 1:
        raise LabError("root of one's own has to be taken before the first thread is started")
    user, group = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
    except OSError as error:
        raise MissingFeature(FEATURE, needed_by=(OPTION,), detail=_why(error)) from error
    try:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
        syscalls.keep_mounts_private()
        syscalls.mount_memory("/run", "mode=0755")
        settings.raise_interface("lo")
    except OSError as error:
        raise refused("becoming root in a user namespace", error) from error
    _inside.append(_user_namespace())
    os.environ[MARK] = _inside[0]


def possible() -> str:
    """Try it, as an ordinary user and in a process of its own. Raises MissingFeature, which says why not."""
    from netns.process import find_program

    argv = [find_program(_HOW[0]), *_HOW[1:], "--", find_program("true")]
    if os.geteuid() == 0 and not entered():
        argv = [find_program("setpriv"), "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups", *argv]
    ran = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise MissingFeature(FEATURE, needed_by=(OPTION,), detail=_reason() or ran.stderr.strip())
    return "in use" if entered() else f"no root needed with {OPTION}"


def restrictions() -> list[tuple[str, str]]:
    """What there is not inside, and what is done instead; nothing for the machine's own root."""
    if not entered():
        return []
    return [
        ("buffers of any size", f"at most {_most_octets()} octets (net.core.rmem_max): bursts overflow sooner"),
        ("other users in hosts", "programs run as yourself, without any right over the host"),
        ("labs that other terminals see", "no `wfplab shell`, no `ip netns exec`: a lab is seen by its run alone"),
    ]


def _most_octets() -> str:
    try:
        return Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii").strip()
    except OSError:
        return "a few hundred thousand"


def _why(error: OSError) -> str:
    """Why the kernel does not allow it, as far as it tells."""
    code = error.errno or 0
    return _reason() or f"{errno.errorcode.get(code, code)} ({os.strerror(code)})"


def _reason() -> str:
    for path, value, reason in _REASONS:
        with suppress(OSError):
            if Path(path).read_text(encoding="ascii").strip() == value:
                return reason
    return ""
