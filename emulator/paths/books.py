"""The books of one host: every packet the queues offered, and what became of it."""

from __future__ import annotations

from emulator.paths.queue import HookNumber, QueueCounts


class HookBook:
    """What became of the packets of one hook, in packets.

    `offered` is counted when a packet is taken from the queue, the rest when its verdict is given.
    """

    offered: int
    passed: int
    """Let go on unchanged by us, seen by callouts or not."""
    reinjected: int
    """Went on because a clone of it was injected."""
    blocked: int
    absorbed: int
    """Dropped silently; what a callout injects instead is counted as an injection."""
    abandoned: int
    """Still held when the host was closed."""

    def __init__(self) -> None:
        self.offered = self.passed = self.reinjected = self.blocked = self.absorbed = self.abandoned = 0

    @property
    def held(self) -> int:
        """Taken and not yet decided."""
        return self.offered - self.passed - self.reinjected - self.blocked - self.absorbed - self.abandoned

    def as_dict(self) -> dict[str, int]:
        """Plain values."""
        names = ("offered", "passed", "reinjected", "blocked", "absorbed", "abandoned", "held")
        return {name: getattr(self, name) for name in names}


class InjectionBook:
    """What became of the accepted injections, in lists."""

    accepted: int
    by_verdict: int
    """Of the accepted: went on as a held packet."""
    by_injector: int
    """Of the accepted: sent by a socket of ours."""
    completed: int
    failed: int
    """Of the completed: with a failing status."""
    vanished: int
    """Of the failed: sent, and not seen again where they should have come by."""

    def __init__(self) -> None:
        self.accepted = self.by_verdict = self.by_injector = self.completed = self.failed = self.vanished = 0

    def as_dict(self) -> dict[str, int]:
        """Plain values."""
        names = ("accepted", "by_verdict", "by_injector", "completed", "failed", "vanished")
        return {name: getattr(self, name) for name in names}


class Books:
    """Offered = passed + reinjected + blocked + absorbed + abandoned + held, for every hook; and none lost."""

    hooks: dict[int, HookBook]
    injections: InjectionBook
    lost: dict[str, int]
    """Packets lost, by cause: queue or socket overflow, refused verdicts, never read; and those that callouts lost
    sight of, because the queue could not show them whole."""

    def __init__(self) -> None:
        self.hooks = {int(hook): HookBook() for hook in HookNumber}
        self.injections = InjectionBook()
        self.lost = {}

    def note_losses(self, counts: QueueCounts) -> None:
        """Take over what the queue says was lost, when it was closed."""
        self.lost = {
            "queue overflow": counts.queue_overflowed,
            "socket overflow": counts.socket_overflowed,
            "verdict refused": counts.refused,
            "malformed message": counts.malformed,
            "never read": counts.unread,
            "shown to no callout, for the queue cuts them off": counts.truncated,
        }

    @property
    def closed(self) -> bool:
        """True when nothing is held or pending and nothing was lost."""
        pending = self.injections.accepted - self.injections.completed
        return not pending and not any(self.lost.values()) and all(not book.held for book in self.hooks.values())

    def as_dict(self) -> dict[str, object]:
        """Plain values, for reports: whether the books closed, losses, injections, and hooks that were used.

        What is wrong comes first, so that it is seen where the rest is cut.
        """
        return {
            "closed": self.closed,
            "lost": {cause: count for cause, count in self.lost.items() if count},
            "injections": self.injections.as_dict(),
            "hooks": {
                HookNumber(number).name.lower(): book.as_dict()
                for number, book in self.hooks.items()
                if book.offered
            },
        }
