"""Mistakes at the stream layer, on octets alone: rules of order, ends and deferring."""

from __future__ import annotations

from contextlib import suppress

from emulator.errors import WfpError
from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.splice import Side
from emulator.stream import clone_stream_data, discard_cloned
from emulator.wfptypes import StreamFlag
from tests.lab.wrong.scene import Scene, wrong


@wrong("ST-39", says="a FIN was made up")
def end_of_stream_invented(scene: Scene, right: bool) -> None:
    bench = scene.bench
    handle = bench.core.create_handle(0, 1)
    registered, _ = bench.add(lambda seen: seen.block())
    bench.send(Side.HOST, b"data")
    if right:
        bench.finish(Side.HOST)
    handle.stream_inject(
        None,
        _nothing,
        flow_id=bench.flow.flow.number,
        callout_id=registered.callout_id,
        layer=bench.layer,
        stream_flags=int(StreamFlag.SEND | StreamFlag.SEND_DISCONNECT),
        data_length=0,
    )
    handle.destroy()


@wrong("ST-32", says="only an inbound stream can be deferred")
def outbound_stream_deferred(scene: Scene, right: bool) -> None:
    bench = scene.bench
    deferred: list[int] = []

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if data.inbound == right and data.data_length and not deferred:
            deferred.append(data.flags)
            seen.stream.defer()
        else:
            seen.permit()

    registered, _ = bench.add(classify)
    bench.send(Side.REMOTE if right else Side.HOST, b"data")
    if right:
        streams = bench.core.streams
        streams.resume(bench.flow.flow.number, registered.callout_id, bench.layer, deferred[0])


@wrong("SD-9", says="called from inside a stream classify function")
def continued_inside_classify(scene: Scene, right: bool) -> None:
    bench = scene.bench
    streams = bench.core.streams
    deferred: list[int] = []

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if not deferred and data.inbound:
            deferred.append(data.flags)
            seen.stream.defer()
            return
        if not right:
            with suppress(WfpError):
                streams.resume(bench.flow.flow.number, registered.callout_id, bench.layer, deferred[0])
        seen.permit()

    registered, _ = bench.add(classify)
    bench.send(Side.REMOTE, b"data")
    if not right:
        bench.send(Side.HOST, b"the other way")
    streams.resume(bench.flow.flow.number, registered.callout_id, bench.layer, deferred[0])


@wrong("ST-35", says="never reinjected")
def end_of_stream_consumed(scene: Scene, right: bool) -> None:
    bench = scene.bench

    def classify(seen: Indication) -> None:
        if seen.stream.stream_data.disconnect and not right:
            seen.block()
        else:
            seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"data")
    bench.finish(Side.HOST)
    scene.later.callback(bench.fail, Side.HOST)


@wrong("ST-38", says="never switch on one flow")
def switched_from_out_of_band_to_inline(scene: Scene, right: bool) -> None:
    bench = scene.bench
    handle = bench.core.create_handle(0, 1)
    chains: list[NetBufferList] = []

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if chains and not right:
            return seen.permit()
        chains.append(clone_stream_data(bench.core.ownership, data))
        return seen.block()

    registered, _ = bench.add(classify)
    for octets in (b"first", b"second"):
        bench.send(Side.HOST, octets)
        while chains and chains[-1].state == 0:
            handle.stream_inject(
                chains[-1],
                lambda context, item, level: bench.core.ownership.free_clone(item),
                flow_id=bench.flow.flow.number,
                callout_id=registered.callout_id,
                layer=bench.layer,
                stream_flags=int(StreamFlag.SEND),
                data_length=len(octets),
            )
            break
    bench.read(Side.REMOTE)
    handle.destroy()


@wrong("ST-28", says="countBytesRequired must be 0")
def bytes_required_without_asking(scene: Scene, right: bool) -> None:
    bench = scene.bench

    def classify(seen: Indication) -> None:
        if not right:
            seen.stream.count_bytes_required = 10
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"data")


@wrong("NB-9", says="was never freed")
def stream_clone_never_freed(scene: Scene, right: bool) -> None:
    bench = scene.bench
    own = bench.core.ownership

    def classify(seen: Indication) -> None:
        chain = clone_stream_data(own, seen.stream.stream_data)
        if right:
            discard_cloned(own, chain)
        else:
            scene.later.callback(discard_cloned, own, chain)
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"data")


@wrong("CF-6", says="was held across the call, and classifyFn of")
def lock_held_across_a_stream_injection(scene: Scene, right: bool) -> None:
    """Stream injection classifies at once, on the same thread: the other driver runs under this one's lock (D04)."""
    bench = scene.bench
    core = bench.core
    handle = core.create_handle(0, 1)
    lock = core.spin_lock("stream")

    def above(seen: Indication) -> None:
        data = seen.stream.stream_data
        if not data.data_length:
            return seen.permit()
        chain = clone_stream_data(core.ownership, data)

        def inject() -> None:
            handle.stream_inject(
                chain,
                lambda context, item, level: core.ownership.free_clone(item),
                flow_id=seen.flow_handle,
                callout_id=registered.callout_id,
                layer=seen.layer,
                stream_flags=data.flags,
                data_length=data.data_length,
            )

        if right:
            inject()
        else:
            with lock:
                inject()
        return seen.block()

    registered, _ = bench.add(above, weight=0x90)
    bench.add(lambda seen: seen.permit(), weight=0x10)
    bench.send(Side.HOST, b"data")
    assert bench.read(Side.REMOTE) == b"data"
    handle.destroy()


def _nothing(context: object, item: NetBufferList, dispatch_level: bool) -> None:
    raise AssertionError("there is no list")
