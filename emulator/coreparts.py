"""What every packet asks of its host's core: the parts of `emulator.core.Core` that are looked at each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.injection import Injection
    from emulator.ledger import Ledger
    from emulator.ntstatus import NtStatus
    from emulator.ownership import Ownership


class CoreParts:
    """Only what is declared here; `Core` sets it all."""

    ownership: Ownership
    ledger: Ledger
    submit: Callable[[Injection], None]
    """Given each accepted injection."""
    not_ready: bool
    """False once the stack has been up, and for good (ER-1)."""
    deny: Callable[[str], bool] | None
    """Fault injection: asked by the name of each injection call; True makes it fail."""
    on_complete: Callable[[Injection, NtStatus], None] | None
    """Told of every completion, before the driver is."""
    hold_completion: Callable[[Injection, Callable[[], None]], bool] | None
    """Asked before each completion whether it waits; what it is given then completes it."""
    scramble_offsets: bool
    """Whether lists come to their completion functions with another data start than they left with (CF-8)."""
    dispatch_threads: set[int]
    """Identities of the threads that run classify and completion functions."""
