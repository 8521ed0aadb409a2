"""Packets as nobody should send them: lengths, options, fragments and chains that are wrong or odd."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from emulator.checksums import fix_checksums
from emulator.headers import build_ip_header

UDP, TCP, ICMP, ICMPV6, NONE, FRAGMENT, HOP, ROUTING, OPTIONS = 17, 6, 1, 58, 59, 44, 0, 43, 60
PORTS = (4000, 5000)


def udp(payload: bytes = b"malformed", *, length: int | None = None) -> bytes:
    return struct.pack("!HHHH", *PORTS, 8 + len(payload) if length is None else length, 0) + payload


def tcp(offset: int = 5, options: bytes = b"", flags: int = 2) -> bytes:
    return struct.pack("!HHIIBBHHH", *PORTS, 1, 0, offset << 4, flags, 512, 0, 0) + options


def fixed(packet: bytes) -> bytes:
    """With right checksums, where that makes sense."""
    octets = bytearray(packet)
    try:
        fix_checksums(octets)
    except ValueError:
        return packet
    return bytes(octets)


def transports(version: int) -> Iterator[tuple[str, int, bytes]]:
    """What can be wrong behind the IP header: (name, protocol, octets)."""
    yield "an empty payload", UDP, b""
    for length in (0, 7, 9, 200, 65535):
        yield f"UDP of length {length}", UDP, udp(length=length)
    yield "half a UDP header", UDP, udp()[:4]
    for offset in (0, 4, 6, 15):
        yield f"TCP with an offset of {offset}", TCP, tcp(offset)
    yield "a TCP option without length", TCP, tcp(6, b"\x02\x00\x01\x01")
    yield "a TCP option beyond the header", TCP, tcp(6, b"\x02\xff\x01\x01")
    yield "all flags of TCP", TCP, tcp(flags=255)
    yield "no flag of TCP", TCP, tcp(flags=0)
    yield "half a TCP header", TCP, tcp()[:9]
    icmp = ICMP if version == 4 else ICMPV6
    unreachable = 3 if version == 4 else 1
    yield "an ICMP error without a packet", icmp, bytes((unreachable, 1)) + bytes(6)
    yield "an ICMP error with half a header", icmp, bytes((unreachable, 1)) + bytes(6) + b"\x45\0\0\x1c\0"
    yield "an ICMP error about an ICMP error", icmp, bytes((unreachable, 1)) + bytes(6) + b"\x45" + bytes(40)
    yield "one octet of ICMP", icmp, b"\x08"
    yield "an unknown ICMP type", icmp, bytes((200, 200)) + bytes(6)
    for protocol in (4, 41, 47, 50, 51, 132, 253, 255):
        yield f"protocol {protocol}", protocol, bytes(24)


def packets(version: int, source: bytes, destination: bytes) -> Iterator[tuple[str, bytes]]:
    """All of them for one direction, with names; none is longer than 1500 octets."""
    for name, protocol, octets in transports(version):
        packet = build_ip_header(version, source, destination, protocol, octets)
        yield name, fixed(packet) if protocol in (TCP, ICMP, ICMPV6) else packet
    good = fixed(build_ip_header(version, source, destination, UDP, udp()))
    for cut in (1, 4, 19, 20, 21, 27, 39, 40, 41):
        yield f"cut to {cut} octets", good[:cut]
    yield "octets behind the end", good + bytes(64)
    yield from (four if version == 4 else six)(source, destination, good)


def four(source: bytes, destination: bytes, good: bytes) -> Iterator[tuple[str, bytes]]:
    for length in (0, 19, 20, 24, 1400, 65535):
        yield f"total length {length}", _header(good, 2, struct.pack("!H", length))
    for first in (0x40, 0x44, 0x4F, 0x05, 0x65, 0xF5):
        yield f"first octet {first:#x}", _header(good, 0, bytes((first,)))
    for name, options in {
        "an option without length": b"\x07\x00\x00\x00",
        "an option beyond the header": b"\x07\xff\x04\x00",
        "a source route": b"\x83\x07\x04" + destination + b"\x00",
        "a record of routes": b"\x07\x07\x04" + bytes(4) + b"\x00",
        "forty octets of end": bytes(40),
        "forty octets of nothing": b"\x01" * 40,
    }.items():
        body = build_ip_header(4, source, destination, UDP, options + udp())
        yield name, _header(body, 0, bytes((0x45 + len(options) // 4,)))
    yield "a wrong header checksum", good[:10] + b"\xde\xad" + good[12:]
    for name, odd in {"itself": destination, "loopback": b"\x7f\0\0\1", "everybody": b"\xff" * 4,
                      "nobody": bytes(4), "a group": b"\xe0\0\0\1"}.items():  # fmt: skip
        yield f"from {name}", fixed(build_ip_header(4, odd, destination, UDP, udp()))
    yield "a hop limit of 0", _header(good, 8, b"\0")
    yield from fragments(lambda offset, more, octets, id: _header(
        build_ip_header(4, source, destination, UDP, octets), 4, struct.pack("!HH", id, offset >> 3 | more << 13)
    ))


def _header(packet: bytes, at: int, octets: bytes) -> bytes:
    """An IPv4 packet with other octets in its header, whose checksum is made right where there is one."""
    made = bytearray(packet)
    made[at : at + len(octets)] = octets
    made[10:12] = bytes(2)
    size = min((made[0] & 15) * 4, len(made))
    words = sum(struct.unpack(f"!{size // 2}H", made[: size // 2 * 2]))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    made[10:12] = struct.pack("!H", ~words & 0xFFFF)
    return bytes(made)


def six(source: bytes, destination: bytes, good: bytes) -> Iterator[tuple[str, bytes]]:
    def packet(first: int, octets: bytes) -> bytes:
        return build_ip_header(6, source, destination, first, octets)

    for length in (0, 1, 7, 1400, 65535):
        yield f"payload length {length}", good[:4] + struct.pack("!H", length) + good[6:]
    for first in (0x40, 0x50, 0xF0):
        yield f"first octet {first:#x}", bytes((first,)) + good[1:]
    empty = bytes((0, 1, 4)) + bytes(5)  # six octets of padding
    yield "no next header", packet(NONE, b"")
    yield "no next header, and octets behind it", packet(NONE, bytes(40))
    yield "a chain of sixty", packet(OPTIONS, (bytes((OPTIONS,)) + empty[:7]) * 59 + bytes((UDP,)) + empty[:7] + udp())
    yield "a chain that ends nowhere", packet(OPTIONS, (bytes((OPTIONS,)) + empty[:7]) * 20)
    yield "hop-by-hop options in the middle", packet(OPTIONS, bytes((HOP,)) + empty[:7] + bytes((UDP,)) + empty[:7])
    yield "a header longer than the packet", packet(OPTIONS, bytes((UDP, 255)) + bytes(30))
    yield "an option longer than its header", packet(HOP, bytes((UDP, 0, 1, 200)) + bytes(4) + udp())
    for kind in (0x05, 0x3E, 0x7E, 0xBE, 0xFE):
        yield f"option {kind:#x}", packet(HOP, bytes((UDP, 0, kind, 4)) + bytes(4) + udp())
    for size in (0, 100, 65535, 65536, 1 << 31):
        option = bytes((UDP, 0, 0xC2, 4)) + struct.pack("!I", size)
        yield f"jumbo of {size}", _length(packet(HOP, option + udp()), 0)
        yield f"jumbo of {size} beside a length", packet(HOP, option + udp())
    for kind, left in ((0, 1), (0, 255), (2, 1), (4, 3), (200, 0)):
        yield f"routing header {kind}, {left} left", packet(ROUTING, bytes((UDP, 2, kind, left)) + bytes(20) + udp())
    for name, odd in {"itself": destination, "loopback": bytes(15) + b"\1", "nobody": bytes(16),
                      "a group": b"\xff\x02" + bytes(13) + b"\1"}.items():  # fmt: skip
        yield f"from {name}", fixed(build_ip_header(6, odd, destination, UDP, udp()))
    yield "a hop limit of 0", good[:7] + b"\0" + good[8:]
    yield from fragments(lambda offset, more, octets, id: packet(
        FRAGMENT, struct.pack("!BBHI", UDP, 0, offset | more, id) + octets
    ))
    inner = struct.pack("!BBHI", FRAGMENT, 0, 0, 99) + struct.pack("!BBHI", UDP, 0, 0, 98)
    yield "a fragment of a fragment", packet(FRAGMENT, inner + udp())


def _length(packet: bytes, length: int) -> bytes:
    return packet[:4] + struct.pack("!H", length) + packet[6:]


def fragments(made: object) -> Iterator[tuple[str, bytes]]:
    """Groups of fragments that do not fit; `made(offset, more, octets, id)` makes one."""
    assert callable(made)
    body = udp(bytes(range(256)) * 2)
    groups = {
        "overlapping": [(0, 1, body[:264]), (256, 1, body[256:400]), (392, 0, body[392:])],
        "one inside another": [(0, 1, body[:400]), (80, 1, body[80:160]), (400, 0, body[400:])],
        "the same twice": [(0, 1, body[:256]), (0, 1, body[:256]), (256, 0, body[256:])],
        "two ends": [(0, 1, body[:256]), (256, 0, body[256:300]), (256, 0, body[256:])],
        "an end before the middle": [(256, 0, body[256:264]), (512, 1, body[:64]), (0, 1, body[:256])],
        "beyond 65535": [(0, 1, body[:64]), (65528, 0, bytes(64))],
        "no octet at the end": [(0, 1, body[:256]), (256, 0, b"")],
        "of eight octets": [(at, int(at + 8 < len(body)), body[at : at + 8]) for at in range(0, len(body), 8)],
        "not of eight octets": [(0, 1, body[:13]), (16, 0, body[16:])],
        "alone": [(0, 0, body)],
        "without a beginning": [(64, 1, body[64:128]), (128, 0, body[128:])],
    }
    for number, (name, parts) in enumerate(groups.items()):
        for offset, more, octets in parts:
            yield f"fragments: {name}", made(offset, more, octets, 700 + number)
