"""What to do about each broken rule, in one sentence for whoever wrote the callout."""

from __future__ import annotations

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    # lists
    "NB-3": "Put back every buffer and descriptor you replaced before you free the clone.",
    "NB-4": "Block the original with ABSORB, and inject a clone or a copy with the new octets.",
    "NB-5": "Free clones of every kind with FwpsFreeCloneNetBufferList0, and nothing else with it.",
    "NB-7": "Make sizes multiples of 16, keep the window inside the chain, free a pool after its lists.",
    "NB-8": "Free lists from FwpsAllocateNetBufferAndNetBufferList0 with FwpsFreeNetBufferList0, and nothing else.",
    "NB-9": "Free each list exactly once: in its completion function when the injection was accepted, else yourself.",
    "NB-10": "Copy what you need into a list of your own, and give the clone or the reference back.",
    "NB-11": "Reference the list during classify, or clone or copy it there.",
    "NB-12": "Call FwpsDereferenceNetBufferList0 once for each FwpsReferenceNetBufferList0.",
    "NB-13": "Advance the original by what you retreated it, on every way out of classify.",
    "NB-20": "Begin at the transport header to build a header, at the IP header to rebuild one.",
    "NB-24": "Hand over the chain of fragments as it was indicated, while it is valid.",
    # injecting in general
    "GE-3": "Leave an injected list and its buffers alone until its completion function is called.",
    "GE-4": "Give locks back before you inject: the completion may come before the call returns.",
    "GE-5": "Call it from a worker at PASSIVE_LEVEL, not from classify or a completion function.",
    "GE-6": "Pass 0 for reserved arguments and flags.",
    "GE-9": "Catch what your own function may raise: on Windows this would be a crash.",
    "GE-13": "Query the injection state first, and permit what you injected now or earlier.",
    "GE-14": "Inject clones, which keep their history, or lower the hop limit of copies and stop at 0.",
    "GE-16": "Recompute the checksums after every change, at the latest before you inject.",
    "GE-17": "Compute the whole checksum, or keep the partial one together with the list's checksum information.",
    "GE-18": "Build the header at the start of a memory of its own.",
    "GE-20": "Inject a clone, or a list that you made; never the list that classify shows.",
    "CF-6": "Give the lock back before the call, and take it again after it.",
    # handles and states
    "HC-15": "Destroy every handle before the driver unloads.",
    "HD-5": "Destroy handles from a worker or from unload, where waiting does no harm.",
    "HD-6": "Forget a handle once it is destroyed.",
    "QS-11": "Query the state only where the layer has a packet.",
    # where the data begins
    "NS-2": "Move the data start to the IP header: at inbound layers retreat before you clone, then advance back.",
    "NS-3": "Use the handle that was made for the packet's address family.",
    "NR-2": "Retreat by ipHeaderSize before you clone, and advance the original back.",
    "NR-6": "Recompute the IPv4 header checksum before every receive injection.",
    "TS-2": "Clone without any retreat: the stack builds the IP header; or pass no send parameters.",
    "TS-3": "Pass the send parameters, or begin with the IP header.",
    "TR-2": "Retreat by ipHeaderSize and transportHeaderSize before you clone (ICMP: ipHeaderSize alone).",
    "FW-1": "Clone without any retreat: at IPFORWARD the data begins at the IP header.",
    # transport
    "TS-7": "Keep the remote address in memory that lives until the completion function is called.",
    "TS-10": "Copy the control data during classify, and keep the copy until completion.",
    "TS-12": "Keep the header of a raw send until completion.",
    "TS-16": "Queue TCP to a worker, and inject it from there.",
    "TR-11": "Queue TCP to a worker, and inject it from there.",
    "PE-7": "Complete every pended operation exactly once.",
    # deciding
    "CO-4": "Remove the contexts of all flows before you unregister the callout.",
    "CO-12": "Copy the values you need while classify runs.",
    "CO-14": "Look at the right to decide first; without it only a BLOCK over a PERMIT counts.",
    "CO-17": "Set ABSORB only together with BLOCK, and only where the layer has it.",
    "CO-18": "Set ABSORB when you block what you inject again.",
    "CO-19": "Clear the right to decide when you block what you inject again.",
    "CO-22": "Never wait in classify, and give back there what you locked there.",
    # streams
    "ST-12": "Stop injecting into a stream when it was reset.",
    "ST-14": "Inject from classify, or defer the stream first.",
    "ST-28": "Leave countBytesRequired at 0 unless you ask for more data.",
    "ST-29": "Ask for less: the engine holds only so much of a stream.",
    "ST-30": "Look at NO_MORE_DATA before you ask for more.",
    "ST-32": "Defer inbound streams only; outbound, clone and block.",
    "ST-35": "Inject the FIN you consumed: an empty list with a DISCONNECT flag, last.",
    "ST-38": "Decide for each flow whether it is handled inline or out of band, and stay with it.",
    "ST-39": "Set DROP_CONNECTION to end a stream; inject only a FIN that was indicated.",
    "ST-41": "Wait until nothing of the stream is pending before you remove the filter.",
    "ST-43": "Call FwpsStreamContinue0 after the injection has returned.",
    "SD-4": "Discard only stream clones that you did not inject.",
    "SD-9": "Call FwpsStreamContinue0 from a worker.",
    # whatever has a pair
    "NT-5": "Remove the context under the tag before the list goes out of your hands, or when its event says so.",
    "OR-3": "Give back whatever the driver took before it unloads.",
}


def advice(rule: str) -> str:
    """What to do when a rule was broken; for a rule without advice, where to read about it."""
    return ADVICE.get(rule) or f"Read rule {rule} in `wfplab contract`."
