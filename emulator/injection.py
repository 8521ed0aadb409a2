"""One accepted call of an injection function, and what the send functions take beside the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.defaults import set_defaults
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.wfptypes import AddressFamily, InjectionType

if TYPE_CHECKING:
    from emulator.handle import InjectionHandle
    from emulator.ledger import History

CompletionFn = Callable[[Any, NetBufferList, bool], object]
"""Called once for each accepted list: (completion context, list, dispatch level).  Source: CF-1."""

# The injection functions: plain numbers, they are looked up for every packet.
NETWORK_SEND, NETWORK_RECEIVE, TRANSPORT_SEND, TRANSPORT_RECEIVE, FORWARD, STREAM = range(6)
FUNCTION_NAMES = (
    "FwpsInjectNetworkSendAsync0",
    "FwpsInjectNetworkReceiveAsync0",
    "FwpsInjectTransportSendAsync0",
    "FwpsInjectTransportReceiveAsync0",
    "FwpsInjectForwardAsync0",
    "FwpsStreamInjectAsync0",
)
FUNCTION_TYPES = (
    InjectionType.NETWORK,
    InjectionType.NETWORK,
    InjectionType.TRANSPORT,
    InjectionType.TRANSPORT,
    InjectionType.FORWARD,
    InjectionType.STREAM,
)


class SendParams:
    """Where a transport send goes, and how: the arguments that must outlive the call.

    `remote_address` is 4 or 16 octets in network order.  The object itself may be changed or dropped after
    the call; the buffers it names must stay as they are until completion.
    Source: TS-7..TS-13.
    """

    remote_address: bytes | bytearray | memoryview
    remote_scope_id: int
    control_data: bytes | bytearray | memoryview | None
    header_include_header: bytes | bytearray | memoryview | None
    """An IP header of the caller's own, for a raw send (version 1 only)."""

    def __init__(
        self,
        remote_address: bytes | bytearray | memoryview,
        remote_scope_id: int = 0,
        control_data: bytes | bytearray | memoryview | None = None,
        header_include_header: bytes | bytearray | memoryview | None = None,
    ) -> None:
        self.remote_address = remote_address
        self.remote_scope_id = remote_scope_id
        self.control_data = control_data
        self.header_include_header = header_include_header

    def __repr__(self) -> str:
        return (
            f"SendParams({self.remote_address!r}, {self.remote_scope_id!r}, {self.control_data!r}, "
            f"{self.header_include_header!r})"
        )


_SUCCESS = NtStatus.SUCCESS
_NOTHING = (None, None, None)
_BUFFER_NAMES = ("remoteAddress", "controlData", "headerIncludeHeader")


class HeldSendParams:
    """The engine's view of send parameters while the injection is pending: the buffers, and what they held.

    Made by `held_params`.
    """

    remote_scope_id: int
    remote_address: bytes
    """As it was at the call, network order."""
    _buffers: tuple[Any, ...]
    """Empty when none can change."""
    _copies: tuple[bytes | None, ...]

    @property
    def control_data(self) -> bytes | None:
        """The control data as it was at the call."""
        return self._copies[1]

    @property
    def header_include_header(self) -> bytes | None:
        """The caller's IP header as it was at the call."""
        return self._copies[2]

    def is_plain(self) -> bool:
        """Whether there are neither control data nor a header."""
        copies = self._copies
        return not copies[1] and not copies[2]

    def died_early(self) -> str | None:
        """Which buffer no longer holds what it held at the call; None when all do (TS-7, TS-10)."""
        if not self._buffers:
            return None
        for name, buffer, copy in zip(_BUFFER_NAMES, self._buffers, self._copies, strict=True):
            if isinstance(buffer, bytes) or buffer is None:
                continue
            try:
                same = bytes(buffer) == copy
            except ValueError:  # a released memoryview
                same = False
            if not same:
                return name
        return None


def held_params(params: SendParams) -> HeldSendParams:
    """What the parameters are now; they stay the caller's."""
    made = HeldSendParams.__new__(HeldSendParams)
    made.remote_scope_id = params.remote_scope_id
    address, control, header = params.remote_address, params.control_data, params.header_include_header
    made.remote_address = address if type(address) is bytes else bytes(address)
    made._buffers = ()
    made._copies = _NOTHING
    if control is not None or header is not None or type(address) is not bytes:
        made._buffers = (address, control, header)
        made._copies = (
            made.remote_address,
            None if control is None else bytes(control),
            None if header is None else bytes(header),
        )
    return made


class Injection:
    """One accepted call of an injection function, from acceptance to completion; made by `new_injection`.

    Source: GE-1, GE-3.
    """

    function: int
    handle: InjectionHandle
    context: Any
    net_buffer_list: NetBufferList
    completion: CompletionFn
    completion_context: Any
    family: AddressFamily
    history: History
    interface: int
    sub_interface: int
    endpoint: Any
    send_params: HeldSendParams | None
    packets_left: int
    status: NtStatus
    preserve_id: bool
    given_back: bool
    """Whether it was completed before all of it was seen again."""
    scramble: bool
    """Whether its list comes back with another data start than it left with (CF-8)."""
    serial: int
    """Its number on its host, while that is traced."""
    gathered: int
    """Packets of it that wait in a batch."""
    met: bool
    """Whether a hook will see those."""

    def __repr__(self) -> str:
        return f"<{FUNCTION_NAMES[self.function]} of {self.net_buffer_list!r} by {self.handle!r}>"


def new_injection(
    function: int,
    handle: Any,
    context: Any,
    net_buffer_list: NetBufferList,
    completion: CompletionFn,
    completion_context: Any,
    family: AddressFamily,
    history: History,
) -> Injection:
    """A call that was accepted; its one list is the engine's from now on."""
    made = Injection.__new__(Injection)
    made.function = function
    made.handle = handle
    made.context = context
    made.net_buffer_list = net_buffer_list
    made.completion = completion
    made.completion_context = completion_context
    made.family = family
    made.history = history
    made.interface = made.sub_interface = 0
    made.packets_left = 1
    made.status = _SUCCESS
    return made


set_defaults(
    Injection,
    endpoint=None, send_params=None, preserve_id=False, given_back=False, scramble=False,
    serial=0, gathered=0, met=False,
)  # fmt: skip
