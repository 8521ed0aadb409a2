"""Mistakes that are made less often: reserved flags, pools, locks, tags, and the ends of streams."""

from __future__ import annotations

from contextlib import suppress

from emulator.construct import reassemble_forward_group
from emulator.errors import WfpError
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.ndis import NET_BUFFER_LIST_POOL_PARAMETERS, Ndis
from emulator.netbuffer import NetBufferList
from emulator.splice import Side
from emulator.stream import clone_stream_data, discard_cloned
from emulator.wfptypes import ClassifyOutFlag, InjectionType, StreamFlag
from tests.lab.wrong.scene import Scene, wrong

MEBIBYTE = 1 << 20
LIMIT = 8 * MEBIBYTE
"""Octets that the engine gathers for a callout at most."""

# -- lists, handles, locks ------------------------------------------------------------------------------------


@wrong("GE-6", says="flags are reserved and must be 0")
def clone_freed_with_flags(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        scene.ownership.free_clone(seen.clone(), 0 if right else 1)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-7", says="the pool was freed before")
def pool_freed_twice(scene: Scene, right: bool) -> None:
    ndis = Ndis(scene.core)
    pool = ndis.NdisAllocateNetBufferListPool(None, NET_BUFFER_LIST_POOL_PARAMETERS())
    assert pool is not None
    for _ in range(1 if right else 2):
        ndis.NdisFreeNetBufferListPool(pool)


@wrong("NB-24", says="was not indicated as part of a fragment group", versions=(4,))
def own_list_reassembled(scene: Scene, right: bool) -> None:
    item = scene.created()
    if not right:
        with suppress(WfpError):
            reassemble_forward_group(scene.core, int(scene.family), item)
    scene.free(item)


@wrong("HD-6", says="the handle was destroyed before")
def handle_destroyed_twice(scene: Scene, right: bool) -> None:
    handle = scene.core.create_handle(scene.family, InjectionType.NETWORK)
    handle.destroy()
    if not right:
        with suppress(WfpError):
            handle.destroy()


@wrong("CO-22", says="the thread holds it already")
def lock_taken_twice(scene: Scene, right: bool) -> None:
    lock = scene.core.spin_lock("state")

    def classify(seen: Indication) -> None:
        with lock:
            if not right:
                with lock:
                    pass
        seen.permit()

    scene.outbound(classify)


@wrong("CO-22", says="is not held by this thread")
def lock_given_back_twice(scene: Scene, right: bool) -> None:
    lock = scene.core.spin_lock("state")

    def classify(seen: Indication) -> None:
        lock.acquire()
        lock.release()
        if not right:
            lock.release()
        seen.permit()

    scene.outbound(classify)


@wrong("NB-9", "NT-5", says="a context under tag")
def list_with_a_tag_never_freed(scene: Scene, right: bool) -> None:
    item = scene.created()
    tags = scene.core.tags
    tag = tags.new_tag()
    tags.associate(item, 0, "context", tag, lambda *_: None)

    def remove() -> None:
        tags.remove(item, tag)
        scene.ownership.free_list(item)

    if right:
        remove()
    else:
        scene.later.callback(scene.ownership.free_list, item)
        scene.later.callback(tags.remove, item, tag)


# -- streams --------------------------------------------------------------------------------------------------


def injector(scene: Scene, callout_id: int, stream_flags: int = int(StreamFlag.SEND)) -> tuple[InjectionHandle, object]:
    """A handle for streams, and a function that injects a list of octets into the bench's one."""
    bench = scene.bench
    own = bench.core.ownership
    handle = bench.core.create_handle(0, 1)

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        own.free_list(item)

    def inject(octets: bytes = b"more") -> None:
        item = own.create_from(octets)
        try:
            handle.stream_inject(
                item, done, flow_id=bench.flow.flow.number, callout_id=callout_id, layer=bench.layer,
                stream_flags=stream_flags, data_length=len(octets),
            )  # fmt: skip
        except WfpError:
            own.free_list(item)

    return handle, inject


@wrong("ST-12", says="the stream was reset")
def injected_into_a_stream_that_was_reset(scene: Scene, right: bool) -> None:
    bench = scene.bench
    registered, _ = bench.add(lambda seen: late(seen))
    handle, inject = injector(scene, registered.callout_id)

    def late(seen: Indication) -> None:
        if bench.flow.flow.number and seen.stream.stream_data.flags & int(StreamFlag.SEND_ABORT) and not right:
            inject()  # type: ignore[operator]
        seen.permit()

    bench.send(Side.HOST, b"data")
    bench.fail(Side.HOST)
    handle.destroy()


@wrong("ST-14", says="injected outside of classify without having deferred")
def inline_callout_injects_from_elsewhere(scene: Scene, right: bool) -> None:
    bench = scene.bench
    held: list[int] = []

    def classify(seen: Indication) -> None:
        if right and seen.stream.stream_data.data_length and not held:
            held.append(seen.stream.stream_data.flags)
            seen.stream.defer()
        else:
            seen.permit()

    registered, _ = bench.add(classify)
    handle, inject = injector(scene, registered.callout_id, int(StreamFlag.RECEIVE))
    bench.send(Side.REMOTE, b"data")
    inject()  # type: ignore[operator]
    if right:
        bench.core.streams.resume(bench.flow.flow.number, registered.callout_id, bench.layer, held[0])
    bench.read(Side.HOST)
    handle.destroy()


@wrong("ST-29", says="it asked for more data than the engine holds")
def more_wanted_than_is_held(scene: Scene, right: bool) -> None:
    bench = scene.bench

    def classify(seen: Indication) -> None:
        if right and seen.stream.stream_data.data_length >= MEBIBYTE:
            seen.permit()
        else:
            seen.stream.need_more(LIMIT)

    bench.add(classify)
    for _ in range(9):
        if not bench.reset:
            bench.send(Side.HOST, bytes(MEBIBYTE))
            bench.read(Side.REMOTE)


@wrong("ST-30", says="it asked for more data at the end of the stream")
def more_wanted_at_the_end(scene: Scene, right: bool) -> None:
    bench = scene.bench

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if 0 < data.data_length < 10 and not (right and seen.out_flags & ClassifyOutFlag.NO_MORE_DATA):
            seen.stream.need_more(10)
        else:
            seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"data")
    bench.finish(Side.HOST)
    assert bench.read(Side.REMOTE) == b"data"


@wrong("ST-41", says="was removed while")
def filter_removed_while_the_stream_waits(scene: Scene, right: bool) -> None:
    bench = scene.bench
    waits = [True]

    def classify(seen: Indication) -> None:
        if waits[0] and seen.stream.stream_data.data_length:
            seen.stream.need_more(10)
        else:
            seen.permit()

    _, item = bench.add(classify)
    bench.send(Side.HOST, b"data")
    if right:
        waits[0] = False
        bench.send(Side.HOST, b" and what it waits for")
    bench.remove(item)


@wrong("SD-4", says="was accepted for injection")
def stream_clone_discarded_in_flight(scene: Scene, right: bool) -> None:
    bench = scene.bench
    own = bench.core.ownership
    handle = bench.core.create_handle(0, 1)

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        own.free_clone(item)

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if not data.data_length:
            return seen.permit()
        chain = clone_stream_data(own, data)
        bench.window[Side.REMOTE] = 0
        handle.stream_inject(
            chain, done, flow_id=seen.flow_handle, callout_id=registered.callout_id, layer=seen.layer,
            stream_flags=data.flags, data_length=data.data_length,
        )  # fmt: skip
        if not right:
            discard_cloned(own, chain)
        return seen.block()

    registered, _ = bench.add(classify)
    bench.send(Side.HOST, b"data")
    bench.window[Side.REMOTE] = None
    bench.turn()
    bench.read(Side.REMOTE)
    handle.destroy()
