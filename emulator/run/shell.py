"""`wfplab shell`: a program inside a host of a lab that is paused or kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from emulator.run.loading import BadTarget


def run(scenario: str, host: str, command: Sequence[str]) -> NoReturn:
    """Become `command`, or the user's shell, inside a host; the lab is known by its scenario.

    Raises BadTarget (no such lab or host), LabError when Linux refuses, MissingFeature (no such program).
    """
    from netns.errors import refused
    from netns.mountpoint import path_of
    from netns.process import find_program
    from netns.syscalls import enter_network

    label, name = find(scenario, host)
    argv = list(command) or [os.environ.get("SHELL") or "/bin/sh"]
    program = find_program(argv[0])
    try:
        descriptor = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
        enter_network(descriptor)
    except OSError as error:
        raise refused(f"entering {name}", error) from error
    if not command:
        sys.stderr.write(f"wfplab: in {host} of {label}; leave with `exit`\n")
        sys.stderr.flush()
    os.execve(program, argv, {**os.environ, "WFPLAB_HOST": host, "WFPLAB_SCENARIO": label})


def find(scenario: str, host: str) -> tuple[str, str]:
    """The label of the lab and the name of the namespace; the label may be given without its family.

    Raises BadTarget, with what there is.
    """
    from netns.lease import labelled

    labs = [(label, live) for label, live in labelled() if label]
    found = [(label, live) for label, live in labs if scenario in (label, label.partition("[")[0])]
    if not found:
        there = ", ".join(sorted(label for label, _ in labs)) or "none; `wfplab run --keep` or `--pause-on-failure`"
        raise BadTarget(f"no lab of scenario {scenario} is open; open are: {there}")
    for label, live in found:
        for name in live.namespaces:
            if name.split("-", 2)[2] == host:
                return label, name
    hosts = ", ".join(name.split("-", 2)[2] for _, live in found for name in live.namespaces)
    raise BadTarget(f"scenario {scenario} has no host {host}; it has {hosts}")
