"""Mistakes with handing over: who owns what is injected, loops, locks, handles."""

from __future__ import annotations

import threading
from contextlib import suppress

from emulator.errors import Unsuccessful, WfpError
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.wfptypes import InjectionType
from tests.lab.wrong.scene import Scene, wrong

# -- ownership of what is injected ----------------------------------------------------------------------------


@wrong("GE-20", says="is not the driver's")
def original_injected(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        item = seen.clone() if right else seen.net_buffer_list
        assert item is not None
        with suppress(WfpError):
            scene.handle.network_send(item, scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("NB-9", says="no completion comes, and it is still the driver's")
def refused_and_never_freed(scene: Scene, right: bool) -> None:
    """The driver waits for a completion that will not come: the call was refused (A11)."""

    def classify(seen: Indication) -> None:
        clone = seen.clone()
        try:
            scene.handle.network_send(clone, scene.done, compartment=7)
        except WfpError:
            if right:
                scene.free(clone)
            else:
                scene.later.callback(scene.free, clone)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-9", says="its completion function was called with SUCCESS, and kept it")
def completion_that_does_not_free(scene: Scene, right: bool) -> None:
    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        if right:
            scene.free(item)
        else:
            scene.later.callback(scene.free, item)

    scene.handle.network_send(scene.created(), done)
    scene.settle()


# -- loops --------------------------------------------------------------------------------------------------


@wrong("GE-13", says="its state was not queried")
def injected_again_without_asking(scene: Scene, right: bool) -> None:
    passes: list[int] = []

    def classify(seen: Indication) -> None:
        if right and seen.injected_by(scene.handle):
            return seen.permit()
        passes.append(1)
        if len(passes) > 2:  # or it would go on until the loop limit
            return seen.permit()
        scene.handle.network_send(seen.clone(), scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("GE-14", says="handle")
def two_drivers_copy(scene: Scene, right: bool) -> None:
    other = scene.driver.create_handle(scene.family, InjectionType.NETWORK)

    def inject(seen: Indication, handle: InjectionHandle) -> None:
        handle.network_send(seen.clone() if right else scene.created(seen.copy()), scene.done)
        seen.block(absorb=True)

    def classify(seen: Indication) -> None:
        if not seen.injected_by(scene.handle):
            inject(seen, scene.handle)
        elif not seen.injected_by(other):
            inject(seen, other)
        else:
            seen.permit()

    if right:
        scene.outbound(classify)
        return

    def first(seen: Indication) -> None:
        state = scene.handle.state(seen.net_buffer_list)[0].name
        inject(seen, other if state == "INJECTED_BY_SELF" else scene.handle)

    scene.outbound(first)


# -- locks --------------------------------------------------------------------------------------------------


@wrong("GE-4", says="would be waited for for ever", bed="inline")
def lock_held_while_the_completion_wants_it(scene: Scene, right: bool) -> None:
    lock = scene.core.spin_lock("queue")
    count = [0]

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        with lock:
            count[0] -= 1
        scene.free(item)

    def send() -> None:
        item = scene.created()
        with lock:
            count[0] += 1
            if not right:
                scene.handle.network_send(item, done)
        if right:
            scene.handle.network_send(item, done)

    worker = threading.Thread(target=send)
    worker.start()
    worker.join()
    scene.settle()


@wrong("CF-6", says="was held across the call, and the completion function ran", bed="inline")
def lock_held_across_an_inline_completion(scene: Scene, right: bool) -> None:
    lock = scene.core.spin_lock("flows")

    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone()
        if right:
            scene.handle.network_send(clone, scene.done)
        else:
            with lock:
                scene.handle.network_send(clone, scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


# -- handles, and calls from the wrong place ------------------------------------------------------------------


@wrong("HC-15", says="was never destroyed")
def handle_never_destroyed(scene: Scene, right: bool) -> None:
    handle = scene.core.create_handle(scene.family, InjectionType.NETWORK)
    if right:
        handle.destroy()
    else:
        scene.later.callback(handle.destroy)


@wrong("HD-6", says="the handle was destroyed before")
def handle_used_after_its_end(scene: Scene, right: bool) -> None:
    handle = scene.core.create_handle(scene.family, InjectionType.NETWORK)
    item = scene.created()
    if right:
        handle.network_send(item, scene.done)
        handle.destroy()
        return
    handle.destroy()
    with suppress(WfpError):
        handle.network_send(item, scene.done)
    scene.free(item)


@wrong("GE-5", says="it needs PASSIVE_LEVEL")
def handle_created_in_classify(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if not right:
            scene.driver.create_handle(scene.family, InjectionType.NETWORK)
        seen.permit()

    if right:
        scene.driver.create_handle(scene.family, InjectionType.NETWORK)
    scene.outbound(classify)


@wrong("HD-5", says="called from a classify or completion function")
def handle_destroyed_in_a_completion(scene: Scene, right: bool) -> None:
    handle = scene.core.create_handle(scene.family, InjectionType.NETWORK)

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        scene.free(item)
        if not right:
            with suppress(Unsuccessful):
                handle.destroy()

    handle.network_send(scene.created(), done)
    scene.settle()
    handle.destroy()


@wrong("QS-11", says="there is no list")
def state_asked_of_nothing(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list if right else None
        scene.handle.state(item)
        seen.permit()

    scene.outbound(classify)


@wrong("GE-18", says="build it anew")
def ip_header_at_an_odd_address(scene: Scene, right: bool) -> None:
    scene.handle.network_send(scene.created(backfill=16 if right else 14), scene.done)
    scene.settle()
