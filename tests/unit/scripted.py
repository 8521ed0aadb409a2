"""What tests of stream callouts share: a callout that answers by a script, and the answers."""

from __future__ import annotations

from collections.abc import Callable

from emulator.indication import Indication
from emulator.stream import IoPacket
from emulator.wfptypes import Action

Answer = Callable[[Indication, IoPacket], None]


class Scripted:
    """A callout that answers by a script, permits when that has ended, and remembers what it was shown."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.shown: list[bytes] = []
        self.flags: list[int] = []
        self.missed: list[int] = []
        self.out_flags: list[int] = []
        self.rights: list[int] = []

    def __call__(self, seen: Indication) -> None:
        packet: IoPacket = seen.stream
        self.shown.append(packet.stream_data.octets)
        self.flags.append(packet.stream_data.flags)
        self.missed.append(packet.missed_bytes)
        self.out_flags.append(seen.out_flags)
        self.rights.append(seen.rights)
        if self.answers:
            self.answers.pop(0)(seen, packet)
        else:
            seen.permit()


def permit(octets: int = 0) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        seen.permit()
        packet.count_bytes_enforced = octets

    return answer


def block(octets: int = 0) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        seen.block()
        packet.count_bytes_enforced = octets

    return answer


def more(octets: int) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        packet.need_more(octets)

    return answer


def act(action: Action) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        seen.action = int(action)

    return answer
