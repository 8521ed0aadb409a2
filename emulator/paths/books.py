"""The books of one host: every packet the queues offered, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from emulator.paths.queue import HookNumber, QueueCounts


@dataclass
class HookBook:
    """What became of the packets of one hook, in packets.

    `offered` is counted when a packet is taken from the queue, the rest when its verdict is given.
    """

    offered: int = 0
    passed: int = 0
    """Let go on unchanged by us, seen by callouts or not."""
    reinjected: int = 0
    """Went on because a clone of it was injected."""
    blocked: int = 0
    absorbed: int = 0
    """Dropped silently; what a callout injects instead is counted as an injection."""
    abandoned: int = 0
    """Still held when the host was closed."""

    @property
    def held(self) -> int:
        """Taken and not yet decided."""
        return self.offered - self.passed - self.reinjected - self.blocked - self.absorbed - self.abandoned


@dataclass
class InjectionBook:
    """What became of the accepted injections, in lists."""

    accepted: int = 0
    by_verdict: int = 0
    """Of the accepted: went on as a held packet."""
    by_injector: int = 0
    """Of the accepted: sent by a socket of ours."""
    completed: int = 0
    failed: int = 0
    """Of the completed: with a failing status."""
    vanished: int = 0
    """Of the failed: sent, and not seen again where they should have come by."""


@dataclass
class Books:
    """Offered = passed + reinjected + blocked + absorbed + abandoned + held, for every hook; and none lost."""

    hooks: dict[int, HookBook] = field(default_factory=lambda: {int(hook): HookBook() for hook in HookNumber})
    injections: InjectionBook = field(default_factory=InjectionBook)
    lost: dict[str, int] = field(default_factory=dict)
    """Packets lost, by cause: queue or socket overflow, refused verdicts, never read."""

    def note_losses(self, counts: QueueCounts) -> None:
        """Take over what the queue says was lost, when it was closed."""
        self.lost = {
            "queue overflow": counts.queue_overflowed,
            "socket overflow": counts.socket_overflowed,
            "verdict refused": counts.refused,
            "malformed message": counts.malformed,
            "never read": counts.unread,
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
            "injections": vars(self.injections).copy(),
            "hooks": {
                HookNumber(number).name.lower(): {**vars(book), "held": book.held}
                for number, book in self.hooks.items()
                if book.offered
            },
        }
