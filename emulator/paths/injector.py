"""Performing accepted injections: by the verdict of the packet that is held, or by a socket of ours.

The choice is not observable but in speed: on both ways the same layers see the packet again, and the list is
completed with the same status.  Everything here runs on the host's I/O thread.
Source: GE-10..GE-14, NS, NR, TS, TR, FW, CF-9, OR-1, OR-7; docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.checksums import fix_checksums
from emulator.injection import FORWARD, FUNCTION_NAMES, NETWORK_RECEIVE, NETWORK_SEND, TRANSPORT_SEND, Injection
from emulator.interfaces import SUB_INTERFACE
from emulator.looping import Chain, handles_of, told
from emulator.netbuffer import CREATED
from emulator.ntstatus import NtStatus
from emulator.octets import UDP, IpView, Malformed, flaw, view_of
from emulator.offload import finished
from emulator.paths.departures import Departures
from emulator.paths.forward import EXEMPT_MARK, ForwardSender
from emulator.paths.held import NOT_ASKED, Held
from emulator.paths.network import NetworkInjector
from emulator.paths.plans import OUTPUT, PREROUTING, REENTRY, VERDICT_HOOKS
from emulator.paths.rawsockets import RawSockets
from emulator.paths.receiving import PacketReceiver
from emulator.paths.sending import VERSION_OF_FAMILY, PacketSender, needs_scope
from emulator.paths.statuses import status_of
from emulator.paths.transport import TransportSender, has_no_checksum
from netns.errors import LabError

if TYPE_CHECKING:
    from emulator.paths.packets import PacketPath

_SUCCESS = NtStatus.SUCCESS
_VERDICT_HOOKS = tuple(sum(1 << hook for hook in VERDICT_HOOKS[number]) for number in range(5))
"""By injection function, a bit for each hook."""
_LOOPBACK_FLAG = 1
_ZONE = 0x0FFFFFFF


class Injector:
    """Performs the injections of one host and tells `completed` what became of every packet of them."""

    def __init__(
        self,
        packets: PacketPath,
        sockets: NetworkInjector,
        raw: RawSockets,
        completed: Callable[[Injection, NtStatus], None],
    ) -> None:
        self.packets = packets
        self.course = packets.course
        self.core = packets.core
        self.ledger = packets.ledger
        self.guard = packets.guard
        self.completed = completed
        routing, endpoints = self.course.routing, self.course.endpoints
        self.sender = PacketSender(packets, sockets, raw)
        self.receiver = PacketReceiver(packets, sockets)
        self.transport = TransportSender(packets, self.sender, endpoints, routing)
        self.forwarder = ForwardSender(packets, self.sender, sockets, raw, routing)
        self.verdicts = True
        """Whether a held packet may go on by its verdict; without, all go the general way (for comparison)."""
        self.waiting: Callable[[Injection], None] = lambda injection: None
        """Told of an injection that was sent and is complete only when a hook has seen it."""
        self.under_way: dict[Injection, None] = {}
        """Sent by a socket and not yet seen again: later ones must not overtake them (OR-1)."""
        self.departures = Departures(packets, sockets, completed, self._send_alone, self._sent)
        self._ways: tuple[Callable[[Injection, bytes], NtStatus | None], ...] = (
            self.sender.network,
            self.receiver.receive,
            self.transport.send,
            self.receiver.receive,
            self.forwarder.send,
        )

    def perform(self, injection: Injection) -> None:
        """Bring an accepted injection on its way."""
        item = injection.net_buffer_list
        departures = self.departures
        if injection.function == NETWORK_SEND and item.origin is None and departures.gather(injection):
            return
        if departures.injections:
            departures.leave()
        if injection.function == TRANSPORT_SEND:
            refused = self.transport.refused(injection)
            if refused is not None:
                self.completed(injection, refused)
                return
        chain: Chain | None = None
        if len(injection.history) > 1 or not self.guard.idle:
            chain = self._chain(injection)
            if chain is not None and len(chain) > self.guard.limit:
                self._stop_loop(injection, chain)
                return
        held = item.origin
        if held is not None and held.blocked and not held.settled and self._by_verdict(injection, held):
            return
        assert self.packets.queue is not None
        self.packets.queue.flush()  # what was decided before goes first (OR-1)
        packets = item.packets() if item.info is None else [bytes(finished(octets)) for octets in item.packets()]
        injection.packets_left = len(packets)
        self.packets.books.injections.by_injector += 1
        for octets in packets:
            status = self._send_one(injection, octets)
            if status is not None:
                self.completed(injection, status)
        if injection.packets_left > 0:
            self._sent(injection)
        if chain is not None and item.kind == CREATED:
            self.guard.sent(self.packets.last_record, chain)

    def done(self, injection: Injection) -> None:
        """An injection is about to be completed."""
        if self.under_way:
            self.under_way.pop(injection, None)

    # -- loops ------------------------------------------------------------------------------------------

    def _chain(self, injection: Injection) -> Chain | None:
        """Who injected the packet before, as far as can be told; None when surely nobody did."""
        if len(injection.history) > 1:
            return handles_of(injection.history)
        if self.guard.idle or injection.net_buffer_list.kind != CREATED:
            return None
        try:
            return self.guard.continued(IpView(injection.net_buffer_list.octets), injection.handle)
        except Malformed:
            return None

    def _stop_loop(self, injection: Injection, chain: Chain) -> None:
        rule = "GE-14" if len(injection.history) == 1 else "GE-13"
        self.core.violate(
            rule,
            FUNCTION_NAMES[injection.function],
            f"a packet goes round: {told(chain)}; query the injection state and let pass what was injected",
            handle=injection.handle,
        )
        self.completed(injection, NtStatus.HOPLIMIT_EXCEEDED)

    # -- by the verdict of a held packet ----------------------------------------------------------------

    def _by_verdict(self, injection: Injection, held: Held) -> bool:
        """Let the held packet go on as the injected one; False when that would not be the same."""
        function = injection.function
        item = injection.net_buffer_list
        packet = held.packet
        if not _VERDICT_HOOKS[function] >> packet.arrival.hook & 1 or item._first is not None:
            return False
        if item.memory is not packet.payload:
            return False
        view = held.seen()
        if item.end != view.end or not self.verdicts or self.under_way or packet.arrival.gso:
            return False
        other = held.edited and not held.has_first_header()
        if other:
            if flaw(packet.payload, VERSION_OF_FAMILY[injection.family]) is not None:
                return False
            view = view_of(packet.payload)
        if not self._same_way(injection, held, view, other):
            return False
        held.known_view = view
        injection.packets_left = 1
        self.packets.books.injections.by_verdict += 1
        if function == FORWARD:
            self.packets.reinjected(held, held.changed_octets(), EXEMPT_MARK)
            self.completed(injection, _SUCCESS)
            return True
        if held.edited:
            held.endpoint = NOT_ASKED
            if function == TRANSPORT_SEND and injection.send_params is not None and view.protocol == UDP:
                self._fill_in(held, view)
        self._reenter(injection, held)
        return True

    def _fill_in(self, held: Held, view: IpView) -> None:
        """A UDP checksum that the driver set to 0 is the stack's to compute, in octets of its own."""
        if has_no_checksum(view):
            held.packet.payload = bytearray(held.packet.payload)
            held.known_view = fix_checksums(held.packet.payload, view.start, view.end)

    def _same_way(self, injection: Injection, held: Held, view: IpView, other: bool) -> bool:
        """True when the kernel would treat the held packet as what is injected: same start, same route.

        `other` tells that the IP header is no longer the one it came with.
        """
        function = injection.function
        start = injection.net_buffer_list.start
        arrival = held.packet.arrival
        if function == TRANSPORT_SEND and injection.send_params is not None:
            return self._same_send(injection, held, view)
        if start != 0:
            return False
        if function == FORWARD:
            if injection.interface != arrival.out_device or held.passes_through:
                return False
        elif function in (NETWORK_SEND, TRANSPORT_SEND):
            if other and self.sender.source_refused(view) is not None:
                return False
        else:
            if injection.interface != arrival.in_device or injection.sub_interface != SUB_INTERFACE:
                return False
            if injection.interface == self.packets.loopback_index:
                return False  # NR-9: what came by loopback is not received again
            if other and self.receiver.refused(view, loopback=False) is not None:
                return False
            if arrival.hook == PREROUTING:
                return True  # it is routed after this hook
        return not other or view.destination == held.first_destination()

    def _same_send(self, injection: Injection, held: Held, view: IpView) -> bool:
        """The same for a transport send, whose destination and sender are named beside the data."""
        params = injection.send_params
        assert params is not None
        remote = params.remote_address
        if held.packet.arrival.hook != OUTPUT or injection.net_buffer_list.start != view.transport_offset:
            return False
        if remote != view.destination or not params.is_plain():
            return False
        if remote[0] == 0xFE and needs_scope(remote):
            scope = params.remote_scope_id & _ZONE
            if scope != held.packet.arrival.out_device:
                return False
        return bool(injection.endpoint) or not self.transport.forgets(injection, held)

    def _reenter(self, injection: Injection, held: Held) -> None:
        """Show the injected packet at the layers it passes again, up to the hook it is held at (GE-10)."""
        packets = self.packets
        arrival = held.packet.arrival
        here = arrival.hook
        interface = arrival.in_device or arrival.out_device
        flags = _LOOPBACK_FLAG if interface == packets.loopback_index else 0
        if held.authorisation_due:
            self._authorisation_skipped(injection, held)
        history = injection.history
        for hook in REENTRY[injection.function]:
            seen = self.course.meet(hook, held, history, interface, flags)
            if seen is not None:
                self.guard.blocked(held.seen(), history)
                self._stopped_again(injection, held, seen)
                return
            if hook == here:
                break
        cut = here == PREROUTING and held.seen().is_fragment
        final = cut or packets.is_last(here, held)
        if final and packets.leaves(here, held):
            mark = self.ledger.brief(history)
        else:
            mark = self.ledger.mark(history, None if final else injection, cut)
        packets.reinjected(held, held.changed_octets(), mark)
        if final:
            self.completed(injection, _SUCCESS)
        else:
            self.waiting(injection)

    def _authorisation_skipped(self, injection: Injection, held: Held) -> None:
        held.authorisation_due = False
        if injection.function in (NETWORK_RECEIVE, NETWORK_SEND):
            return
        self.core.violate(
            "TR-8",
            FUNCTION_NAMES[injection.function],
            "ALE_CLASSIFY_REQUIRED was set where the packet was taken: permit it there, and take it at "
            "ALE_AUTH_RECV_ACCEPT",
            handle=injection.handle,
        )

    def _stopped_again(self, injection: Injection, held: Held, seen: Any) -> None:
        """A callout blocked the re-indication: its own clone may still go on with the held packet (CF-9)."""
        held.absorbed = seen.absorbed
        if not seen.absorbed:
            self.course.discarded(held, seen)
        self.completed(injection, _SUCCESS if seen.absorbed else NtStatus.DATA_NOT_ACCEPTED)
        if not held.claims:
            held.release()

    # -- by a socket of ours ----------------------------------------------------------------------------

    def _sent(self, injection: Injection) -> None:
        """Note that a hook has to see what was sent."""
        self.under_way[injection] = None
        self.waiting(injection)

    def _send_alone(self, injection: Injection, octets: bytes) -> bool:
        """Send one packet of a list, while its others leave together; whether a hook will tell of it."""
        assert self.packets.queue is not None
        self.packets.queue.flush()
        status = self._send_one(injection, octets)
        if status is not None:
            self.completed(injection, status)
        return status is None

    def _send_one(self, injection: Injection, octets: bytes) -> NtStatus | None:
        """Send one packet; its status when that is known at once, None when a hook will tell."""
        held = injection.net_buffer_list.origin
        if held is not None and held.authorisation_due:
            self._authorisation_skipped(injection, held)
        try:
            return self._ways[injection.function](injection, octets)
        except OSError as error:
            return status_of(error)
        except LabError as error:
            self.core.lab_failed(f"{injection!r}", error)
            return NtStatus.UNSUCCESSFUL
