"""A port of the priorities of WinDivert: one handle, and a callout for each priority, told apart by the context."""

from __future__ import annotations

from emulator.callout import Callout
from emulator.checksums import fix_checksums
from emulator.driver import Driver
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.wfptypes import InjectionState

MINE = (InjectionState.INJECTED_BY_SELF, InjectionState.PREVIOUSLY_INJECTED_BY_SELF)
OTHER = InjectionState.INJECTED_BY_OTHER


class Rung(Callout):
    """Takes the packets to a port that were not injected at its priority or below; at OUTBOUND_IPPACKET.

    A packet's context is the priority of whoever injected it, so what a higher rung injects is shown to the
    lower ones, and to nobody above.  With `reinject` it sends copies on; those of another driver's packets
    (impostors) with a lower hop limit, which ends a loop of copying drivers.
    Source: QS-6, QS-7, GE-14.
    """

    def __init__(self, driver: Driver, handle: InjectionHandle, priority: int, port: int) -> None:
        self.driver = driver
        self.handle = handle
        self.priority = priority
        self.port = port
        self.reinject = False
        self.taken: list[tuple[bytes, bool]] = []
        """The payloads of what it took, and whether the packet was another driver's."""
        self.statuses: list[str] = []
        """What it tells its user of packets that it does not send on."""

    def classify(self, seen: Indication) -> None:
        if seen.view.destination_port != self.port or not seen.may_decide:
            return seen.continue_()
        state, context = self.handle.state(seen.net_buffer_list)
        if state in MINE and context <= self.priority:
            return seen.continue_()
        impostor = state == OTHER
        self.taken.append((seen.payload, impostor))
        if self.reinject:
            self._send_on(bytearray(seen.copy()), impostor=impostor)
        return seen.block(absorb=True)

    def _send_on(self, octets: bytearray, *, impostor: bool) -> None:
        if impostor:
            hop_limit_at = 8 if octets[0] >> 4 == 4 else 7
            octets[hop_limit_at] -= 1
            if octets[hop_limit_at] == 0:
                self.statuses.append("HOPLIMIT_EXCEEDED")
                return
            fix_checksums(octets)
        self.handle.network_send(self.driver.create(octets), self.driver.done, context=self.priority)
