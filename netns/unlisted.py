"""A namespace without a name: nothing outside of this process leads to it, and it ends with the process."""

from __future__ import annotations

import os
from contextlib import ExitStack

from netns import settings, syscalls
from netns.errors import Closed, refused
from netns.inhabitants import identify
from netns.namespace import Namespace, check_name
from netns.process import Process
from netns.resident import Resident


class UnlistedNamespace(Namespace):
    """A network namespace that `ip netns` does not show; otherwise as `Namespace`.

    However its owner ends, the kernel then removes it, and with it the devices that lead there.
    """

    def __init__(self, name: str, *, forwarding: bool = False) -> None:
        """Make it; `name` is for messages alone. Raises BadName, NotPermitted, KernelRefused."""
        self.name = check_name(name)
        self._processes: set[Process] = set()
        self._netlink = None
        self._closed = True  # until all of it exists
        opened: list[int] = []

        def settle() -> None:
            syscalls.unshare_network()
            opened.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
            settings.make_quiet(forwarding=forwarding)
            settings.raise_interface("lo")

        with ExitStack() as undo:
            undo.callback(_close_all, opened)
            try:
                self._resident = Resident(name, settle)
            except OSError as error:
                raise refused(f"creating network namespace {name}", error) from error
            undo.callback(self._resident.close)
            self._fd = opened[0]
            self.identity = identify(self._fd)
            self._undo = undo.pop_all()
            self._closed = False

    @property
    def path(self) -> str:
        """Where this process sees it."""
        if self._closed:
            raise Closed(f"namespace {self.name}")
        return f"/proc/{os.getpid()}/fd/{self._fd}"


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
