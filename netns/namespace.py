"""A network namespace of ours: made, entered only to open descriptors, and removed.

No thread of the caller ever changes namespace. A descriptor (socket, netlink socket, queue) that was
opened inside goes on working from anywhere.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self, TypeVar

from netns import mountpoint, routes, settings, syscalls
from netns.errors import BadName, Closed, KernelRefused, ProgramFailed, ProgramTimedOut, refused
from netns.inhabitants import NamespaceId, identify, kill_inhabitants
from netns.process import Process, Stream
from netns.resident import Resident

if TYPE_CHECKING:
    from netns.interface import Interface, Link

T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def _settle(name: str, born: list[NamespaceId], *, forwarding: bool) -> None:
    """On the resident thread: become the namespace's first inhabitant and set it up. Raises OSError."""
    syscalls.unshare_network()
    born.append(identify("/proc/thread-self/ns/net"))
    mountpoint.attach(name)
    settings.make_quiet(forwarding=forwarding)
    settings.raise_interface("lo")


def check_name(name: str) -> str:
    """Return `name` if a namespace can have it, else raise BadName."""
    if not NAME.fullmatch(name):
        raise BadName("namespace", name, "1 to 63 of letters, digits, `.`, `_`, `-`, not starting with a sign")
    return name


class Namespace:
    """A network namespace with loopback up; `ip netns exec <name>` reaches it while it is open.

    Its owner closes it, best by `with`. Programs started in it, and everything else that lives in it then,
    end with it.
    """

    def __init__(self, name: str, *, forwarding: bool = False) -> None:
        """Make it. With `forwarding` it routes IPv4 and IPv6.

        Raises BadName, NameTaken, NotPermitted, KernelRefused, UnsafeState; then nothing is left behind.
        """
        self.name = check_name(name)
        self._processes: set[Process] = set()
        self._netlink: Any = None
        self._closed = True  # until all of it exists
        with ExitStack() as undo:
            mountpoint.claim(name)
            born: list[NamespaceId] = []
            undo.callback(lambda: mountpoint.detach(name, born[0] if born else None))
            try:
                self._resident = Resident(name, lambda: _settle(name, born, forwarding=forwarding))
            except OSError as error:
                raise refused(f"creating network namespace {name}", error) from error
            undo.callback(self._resident.close)
            self._fd = os.open(mountpoint.path_of(name), os.O_RDONLY)
            undo.callback(os.close, self._fd)
            self.identity: NamespaceId = born[0]
            self._undo = undo.pop_all()
            self._closed = False

    @property
    def fd(self) -> int:
        """A descriptor of the namespace, for setns or netlink; it stays ours."""
        if self._closed:
            raise Closed(f"namespace {self.name}")
        return self._fd

    @property
    def path(self) -> str:
        """Where it is mounted."""
        return mountpoint.path_of(self.name)

    def open_in(self, opener: Callable[[], T]) -> T:
        """Run `opener` inside, on the thread that lives there, and return what it returns or raise what it raises.

        What it opens belongs to the caller, who needs no right to enter the namespace. Raises Closed besides
        what `opener` raises.
        """
        if self._closed:
            raise Closed(f"namespace {self.name}")
        return self._resident.call(opener)

    def netlink(self, request: Callable[[Any], T]) -> T:
        """Run `request(ipr)` with this namespace's one kept pyroute2 IPRoute; do not keep `ipr`.

        Raises KernelRefused, NotPermitted, Closed.
        """
        try:
            return self._resident.call(lambda: self._ask(request))
        except OSError as error:
            raise refused(f"netlink request in {self.name}", error) from error

    def sysctl(self, key: str, value: str | int | None = None) -> str:
        """Set a net.* key to `value`, if one is given, and return what it is now.

        Dots and slashes both separate; a device name with a dot needs slashes.
        Raises BadName, KernelRefused (ENOENT: this kernel has no such key), NotPermitted, Closed.
        """
        path = settings.path_of(key)
        try:
            return self._resident.call(lambda: settings.exchange(path, value))
        except OSError as error:
            raise refused(f"sysctl {key} in {self.name}", error) from error

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,
        timeout: float = 30.0,
        user: str | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end; standard output and error are in the result, as text.

        Raises MissingFeature, BadName (no such user), KernelRefused, ProgramTimedOut after `timeout` seconds,
        with `check` ProgramFailed, Closed.
        """
        pipe = subprocess.PIPE
        stdin = subprocess.DEVNULL if input is None else pipe
        process = self.start(argv, user=user, stdin=stdin, stdout=pipe, stderr=pipe, env=env, cwd=cwd)
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired as error:
            raise ProgramTimedOut(argv, timeout, (error.stderr or b"").decode(errors="replace")) from error
        finally:
            process.kill()
            self._processes.discard(process)
        status = process.status or 0
        if check and status != 0:
            raise ProgramFailed(argv, status, err)
        return subprocess.CompletedProcess(list(argv), status, out, err)

    def start(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start a program inside. It dies with us even if we are killed, and `close` stops it.

        /sys still shows the machine's own devices; /proc/net shows the namespace's.
        Raises MissingFeature, BadName (no such user), KernelRefused, NotPermitted, Closed.
        """
        try:
            process = Process(
                argv,
                self._resident.call,
                user=user,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd=cwd,
                pass_fds=pass_fds,
            )
        except OSError as error:
            raise refused(f"starting {argv[0]} in {self.name}", error) from error
        self._processes.add(process)
        return process

    def links(self) -> list[Link]:
        """All network devices, by index. Raises KernelRefused, Closed."""
        from netns.interface import Link

        return sorted(self.netlink(lambda ipr: [Link.read(answer) for answer in ipr.get_links()]))

    def interface(self, name: str) -> Interface:
        """The device of that name. Raises KernelRefused (ENODEV), Closed."""
        from netns.interface import Interface

        return Interface(self, name)

    def index_of(self, name: str) -> int:
        """The index of a device. Raises KernelRefused (ENODEV), Closed."""
        try:
            return self._resident.call(lambda: socket.if_nametoindex(name))
        except OSError as error:  # without an errno, whatever the reason
            raise KernelRefused(f"looking up device {name} in {self.name}", errno.ENODEV) from error

    def mac_of(self, name: str) -> str:
        """The hardware address of a device, as aa:bb:cc:dd:ee:ff. Raises KernelRefused (ENODEV), Closed."""
        try:
            return self._resident.call(lambda: settings.hardware_address(name))
        except OSError as error:
            raise refused(f"looking up device {name} in {self.name}", error) from error

    def add_route(
        self,
        destination: str,
        *,
        via: str | None = None,
        interface: str | None = None,
        table: int | None = None,
    ) -> None:
        """Route `destination` (a prefix; `0.0.0.0/0` and `::/0` are the defaults) to a gateway or device.

        Raises ValueError, KernelRefused, Closed.
        """
        routes.add(self, destination, via=via, interface=interface, table=table)

    def divert_marked(self, mark: int, *, mask: int = 0xFFFFFFFF, table: int = 100) -> None:
        """Deliver packets with that mark to local sockets, whatever their destination (TPROXY), v4 and v6.

        Raises KernelRefused, Closed.
        """
        routes.divert_marked(self, mark, mask=mask, table=table)

    def stop_processes(self) -> None:
        """Stop all programs that `start` started; all are asked first, so slow ones do not add up."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.stop()
        self._processes.clear()

    def close(self) -> None:
        """Stop what runs inside, kill what else lives there, and remove it; closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        with self._undo, ExitStack() as last_first:
            last_first.callback(self._resident.call, self._close_netlink)
            last_first.callback(kill_inhabitants, {self.identity})
            last_first.callback(self.stop_processes)

    def _ask(self, request: Callable[[Any], T]) -> T:
        # On the resident thread: pyroute2 opens one socket per thread, in the namespace of that thread.
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        if self._netlink is None:
            self._netlink = IPRoute()
        try:
            return request(self._netlink)
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error

    def _close_netlink(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Namespace {self.name}{' closed' if self._closed else ''}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
