"""What handles permit, and how they end."""

from __future__ import annotations

import threading
from typing import Any

from emulator.errors import (
    FwpInvalidParameter,
    InjectHandleClosing,
    InjectHandleStale,
    InvalidHandle,
    TcpipNotReady,
    WfpError,
)
from emulator.handle import InjectionHandle
from emulator.netbuffer import NetBufferList
from emulator.rewrite import udp_packet
from emulator.scenario import Checks, scenario
from emulator.stack import Stack
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionState, InjectionType
from netns.patience import patient

TYPES = (InjectionType.STREAM, InjectionType.TRANSPORT, InjectionType.NETWORK, InjectionType.FORWARD)
FAMILIES = (AddressFamily.UNSPEC, AddressFamily.INET, AddressFamily.INET6)


def made_packet(bed: Pair, family: AddressFamily, payload: bytes) -> bytes:
    """A whole packet from the host to the peer's port 5000, with right checksums."""
    return udp_packet(bed.host.address(family), bed.peer.address(family), payload, ports=(5007, 5000))


@scenario(families=(AddressFamily.UNSPEC,), cases=("A01",), rules=("HC-2", "HC-9", "HC-11"))
def handle_matrix(pair: Pair, check: Checks) -> None:
    """Every injection type with every address family, and flags 0."""
    made: list[InjectionHandle] = []
    for kind in TYPES:
        for family in FAMILIES:
            refused = kind == InjectionType.NETWORK and family == AddressFamily.UNSPEC
            try:
                made.append(pair.host.stack.create_handle(family, kind))
                seen = "a handle"
            except FwpInvalidParameter as error:
                seen = error.status.windows_name
            expected = "STATUS_FWP_INVALID_PARAMETER" if refused else "a handle"
            check(f"{kind.name} with {family.name}", seen, expected)
    default = pair.host.stack.create_handle(AddressFamily.UNSPEC, 0)
    made.append(default)
    check("flags 0", default.types, InjectionType.TRANSPORT | InjectionType.STREAM | InjectionType.FORWARD)
    item = pair.host.stack.core.ownership.create_from(made_packet(pair, AddressFamily.INET, b""))
    with check.raises("network send with flags 0", InjectHandleStale):
        default.network_send(item, lambda *_: None)
    pair.host.stack.core.ownership.free_list(item)
    check("all distinct", len({id(handle) for handle in made}), len(made))
    for handle in made:
        handle.destroy()


def _attempt(call: Any, *arguments: Any, **options: Any) -> str:
    try:
        call(*arguments, **options)
    except WfpError as error:
        return error.status.windows_name
    return "accepted"


@scenario(cases=("A04",), rules=("GE-2", "NS-1"))
def wrong_type_is_stale(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A handle refuses what it was not created for: no completion, nothing on the wire.

    peer === host
    """
    traffic = Datagrams(pair.host, pair.peer, family)
    stack = pair.host.stack
    completions: list[NetBufferList] = []

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        completions.append(item)
        stack.core.ownership.free_list(item)

    packet = made_packet(pair, family, b"by the wrong handle")
    with stack.create_handle(family, InjectionType.TRANSPORT) as wrong:
        item = stack.core.ownership.create_from(packet)
        check("transport handle, network send", _attempt(wrong.network_send, item, done),
              "STATUS_FWP_INJECT_HANDLE_STALE")  # fmt: skip
        check("the list is still ours", stack.core.ownership.owns(item), True)
        stack.core.ownership.free_list(item)
    check("completions", len(completions), 0)
    check("nothing arrived", traffic.arrived(), [])
    with stack.create_handle(family, InjectionType.NETWORK) as right:
        right.network_send(stack.core.ownership.create_from(packet), done)
        check("by a network handle it arrives", traffic.arrived(), [b"by the wrong handle"])
    check("completions then", len(completions), 1)


@scenario(cases=("A05",), rules=("HD-2", "HD-4", "HD-8"), own_timing=True)
def destroy_waits_for_pending(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Destroy blocks until the completions have run; meanwhile the handle is closing.

    peer === host
    """
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    entered, release = threading.Semaphore(0), threading.Event()
    freed: list[int] = []

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        entered.release()
        release.wait(patient(10))
        stack.core.ownership.free_list(item)
        freed.append(1)

    handle = stack.create_handle(family, InjectionType.NETWORK)
    for number in range(3):
        handle.network_send(stack.core.ownership.create_from(made_packet(pair, family, b"%d" % number)), done)
    check("a completion runs", entered.acquire(timeout=10), True)
    destroyed = threading.Event()

    def destroy() -> None:
        handle.destroy()
        destroyed.set()

    thread = threading.Thread(target=destroy)
    thread.start()
    while not handle.closing:  # the thread has begun to destroy: nothing to wait for but its first step
        pass
    late = stack.core.ownership.create_from(made_packet(pair, family, b"late"))
    with check.raises("injecting meanwhile", InjectHandleClosing):
        handle.network_send(late, done)
    stack.core.ownership.free_list(late)
    check("destroy still waits", destroyed.is_set(), False)
    release.set()
    thread.join(patient(10))
    check("destroy returned after the completions", (destroyed.is_set(), len(freed)), (True, 3))
    check("all were sent, the late one was not", traffic.arrived(), [b"0", b"1", b"2"])


@scenario(families=(AddressFamily.UNSPEC,), rules=("HD-6",))
def dead_handles(pair: Pair, check: Checks) -> None:
    """A destroyed handle is refused, and its use is reported."""
    stack = pair.host.stack
    handle = stack.create_handle(AddressFamily.INET, InjectionType.NETWORK)
    handle.destroy()
    check.expect_violation("HD-6", "HD-6", "HD-6")
    with check.raises("destroying it again", InvalidHandle):
        handle.destroy()
    item = stack.core.ownership.create_from(made_packet(pair, AddressFamily.INET, b""))
    with check.raises("injecting with it", InvalidHandle):
        handle.network_send(item, lambda *_: None)
    check("querying with it", handle.state(item)[0], InjectionState.NOT_INJECTED)
    stack.core.ownership.free_list(item)
    with stack.create_handle(AddressFamily.INET, InjectionType.TRANSPORT) as other:
        check("a new handle has another number", other.number != handle.number, True)
        with check.raises("a handle without NETWORK is stale", InjectHandleStale):
            again = stack.core.ownership.create_from(b"E" * 20)
            try:
                other.network_send(again, lambda *_: None)
            finally:
                stack.core.ownership.free_list(again)


@scenario(families=(AddressFamily.UNSPEC,), rules=("ER-1", "HC-13"))
def not_ready_then_ready(pair: Pair, check: Checks) -> None:
    """Handles cannot be created before the host's hooks and links are up; afterwards they can.

    peer === host, and a second emulated stack on the peer that starts late
    """
    late = Stack(pair.peer.namespace)
    try:
        with check.raises("before the stack was started", TcpipNotReady):
            late.create_handle(AddressFamily.INET, InjectionType.NETWORK)
        pair.link.down()
        late.start()
        with check.raises("while every link is down", TcpipNotReady):
            late.create_handle(AddressFamily.INET, InjectionType.NETWORK)
        pair.link.up()
        handle = late.create_handle(AddressFamily.INET, InjectionType.NETWORK)
        check("once the link is up", handle.types, InjectionType.NETWORK)
        pair.link.down()
        with late.create_handle(AddressFamily.INET, InjectionType.TRANSPORT) as second:
            check("never again after that", second.types, InjectionType.TRANSPORT)
        handle.destroy()
    finally:
        late.close()
