"""A program that runs inside a namespace, owned: it can be waited for, and it always ends."""

from __future__ import annotations

import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Literal

from netns import rootless
from netns.errors import BadName, Closed, MissingFeature, NotReady, ProgramFailed, ProgramTimedOut
from netns.patience import patient

ROOT, ORDINARY = "root", "nobody"
"""Users of programs: the one that we are, and one without rights."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOG_SHOWN_OCTETS = 65536
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 1, 20
TCP_LISTEN = "0A"

Stream = int | IO[bytes] | None


def find_program(name: str) -> str:
    """The full path of a program, also when PATH leaves out the sbin directories; MissingFeature if none."""
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise MissingFeature(f"program {name}", detail=f"not found on PATH nor in {SYSTEM_PATH}")
    return found


def owned_argv(argv: Sequence[str], user: str | None = None) -> list[str]:
    """`argv` behind a shim that asks the kernel to kill it when the spawning thread ends.

    With `user` it also becomes that user, with that user's groups. The shim (setpriv of util-linux) does
    in the new program what `preexec_fn` would do between fork and exec, where threads make it unsafe.
    Raises MissingFeature, BadName.
    """
    becoming = [] if user in (None, ROOT) else _becoming(str(user))
    return [find_program("setpriv"), "--pdeathsig", "KILL", *becoming, "--", find_program(argv[0]), *argv[1:]]


def _becoming(user: str) -> list[str]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise BadName("user", user, "there is no such user on this machine") from error
    if rootless.entered():
        # There is nobody else in there: it stays who it is outside, and 0 gives it no rights over the host.
        return ["--securebits", "+noroot,+noroot_locked", "--inh-caps", "-all"]
    return ["--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--init-groups"]


def child_environment(user: str | None, extra: Mapping[str, str] | None) -> dict[str, str]:
    """Our environment, or for another user next to none of it; messages in English either way."""
    base = dict(os.environ) if user in (None, ROOT) else {"HOME": "/"}
    return {"PATH": SYSTEM_PATH} | base | {"LC_ALL": "C.UTF-8"} | dict(extra or {})


class Process:
    """A started program; whoever started it stops it, or its namespace does when that is closed.

    Output that was not redirected goes to unnamed memory files, shown by `output` and `errors`; it is kept
    as long as the object is. The program leads a session of its own, so Ctrl-C reaches only us.
    """

    def __init__(
        self,
        argv: Sequence[str],
        spawn: Callable[[Callable[[], subprocess.Popen[bytes]]], subprocess.Popen[bytes]],
        *,
        user: str | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start `argv` by `spawn`, which runs its argument on a long-lived thread inside the namespace.

        Raises MissingFeature, BadName, and OSError if the start itself fails.
        """
        self.argv = tuple(argv)
        self._logs: list[int] = []
        self._texts: list[str] | None = None
        command = owned_argv(argv, user)
        try:
            self._logs.append(os.memfd_create("stdout"))
            self._logs.append(os.memfd_create("stderr"))
            out = self._logs[0] if stdout is None else stdout
            err = self._logs[1] if stderr is None else stderr
            self._child = spawn(
                lambda: subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=out,
                    stderr=err,
                    env=child_environment(user, env),
                    cwd=cwd,
                    pass_fds=tuple(pass_fds),
                    start_new_session=True,
                )
            )
            self._pidfd = os.pidfd_open(self._child.pid)
        except BaseException:
            self._close_logs()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._child.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._child.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self._child.stderr

    @property
    def status(self) -> int | None:
        """The exit status, a negative signal number, or None while it runs."""
        return self._child.returncode if self._texts is not None else self._child.poll()

    def output(self) -> str:
        """What it wrote to standard output so far (the last 64 KiB), if that was not redirected."""
        return self._text(0)

    def errors(self) -> str:
        """What it wrote to standard error so far (the last 64 KiB), if that was not redirected."""
        return self._text(1)

    def wait(self, timeout: float, *, check: bool = True) -> int:
        """Return the exit status once it has ended by itself.

        Raises ProgramTimedOut after `timeout` seconds (it then still runs), and with `check` ProgramFailed
        for a status other than 0.
        """
        timeout = patient(timeout)
        try:
            status = self._child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ProgramTimedOut(self.argv, timeout, self.errors()) from error
        if check and status != 0:
            raise ProgramFailed(self.argv, status, self.errors())
        return status

    def communicate(self, input: str | None, timeout: float) -> tuple[str, str]:
        """Write `input`, read both pipes to their end, and return them as text once it has ended.

        Raises subprocess.TimeoutExpired after `timeout` seconds; it then still runs.
        """
        data = None if input is None else input.encode()
        out, err = self._child.communicate(data, patient(timeout))
        return (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace")

    def wait_ready(
        self,
        *,
        port: int | None = None,
        protocol: Literal["tcp", "udp"] = "tcp",
        output: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Return once `port` is bound in the namespace (TCP: listening) and `output` was written.

        `output` is a regular expression, sought in standard output and standard error.
        Raises ProgramFailed if the program ends first, NotReady after `timeout` seconds.
        """
        pattern = re.compile(output) if output is not None else None

        def ready() -> bool:
            bound = port is None or self._is_bound(port, protocol)
            return bound and (pattern is None or bool(pattern.search(self.output() + self.errors())))

        what = f"`{self.argv[0]}` (port {port}/{protocol})" if port is not None else f"`{self.argv[0]}`"
        timeout = patient(timeout)
        deadline = time.monotonic() + timeout
        pause_ms = FIRST_PAUSE_MS
        while not ready():
            if time.monotonic() > deadline:
                raise NotReady(what, timeout, self.errors())
            # Waits on the process itself, so that its death ends the wait at once.
            if self._ended_within(pause_ms):
                raise ProgramFailed(self.argv, self._child.wait(), self.errors())
            pause_ms = min(2 * pause_ms, LONGEST_PAUSE_MS)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), without waiting; nothing happens if it has ended."""
        if self._texts is None:
            self._child.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 2.0) -> int:
        """End it and all of its process group, at the latest after `timeout` seconds; return its status.

        SIGTERM first, then SIGKILL. Stopping twice is allowed.
        """
        if self._texts is not None:
            return self._child.returncode
        self.terminate()
        self._ended_within(int(patient(timeout) * 1000))
        # The leader is not reaped yet (or runs on), so its number still names this group and no other.
        if self._child.returncode is None:
            self._kill_group()
        self._child.wait()
        self._release()
        return self._child.returncode

    def kill(self) -> None:
        """End it and all of its process group now (SIGKILL)."""
        if self._texts is None:
            if self._child.returncode is None:
                self._kill_group()
            self._child.wait()
            self._release()

    def _kill_group(self) -> None:
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except ProcessLookupError:  # killed between fork and setsid; then there is only the leader
            self._child.kill()

    def _ended_within(self, milliseconds: int) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(milliseconds))

    def _is_bound(self, port: int, protocol: str) -> bool:
        wanted = f":{port:04X}"
        for table in (protocol, protocol + "6"):
            try:
                with open(f"/proc/{self.pid}/net/{table}", encoding="ascii") as lines:
                    next(lines, None)
                    fields = [line.split(maxsplit=4)[1:4] for line in lines]
            except OSError:  # the process has ended, or there is no IPv6
                continue
            if any(f[0].endswith(wanted) and (protocol == "udp" or f[2] == TCP_LISTEN) for f in fields):
                return True
        return False

    def _text(self, which: int) -> str:
        if self._texts is not None:
            return self._texts[which]
        if not self._logs:
            raise Closed(f"`{self.argv[0]}`")
        size = os.fstat(self._logs[which]).st_size
        tail = os.pread(self._logs[which], LOG_SHOWN_OCTETS, max(0, size - LOG_SHOWN_OCTETS))
        return tail.decode(errors="replace")

    def _release(self) -> None:
        self._texts = [self._text(0), self._text(1)]
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        os.close(self._pidfd)
        self._close_logs()

    def _close_logs(self) -> None:
        while self._logs:
            os.close(self._logs.pop())

    def __repr__(self) -> str:
        state = "running" if self._texts is None else f"status {self._child.returncode}"
        return f"<Process {self.argv[0]} {self.pid} {state}>"

    def __del__(self) -> None:
        if getattr(self, "_logs", None):
            warnings.warn(f"{self!r} was not stopped", ResourceWarning, source=self, stacklevel=2)
