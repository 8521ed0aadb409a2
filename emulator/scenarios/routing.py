"""What a router's callouts do with packets in transit."""

from __future__ import annotations

from emulator.driver import Driver
from emulator.expect import Like
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.octets import IpView
from emulator.ported.reinject import ALL_TYPES
from emulator.rewrite import udp_packet, with_ends, with_payload
from emulator.scenario import Checks, scenario
from emulator.scenarios.programs import bracketed, dig, name_server, web_server
from emulator.topology import Host, Routed
from emulator.traffic import Datagrams, drain
from emulator.wfptypes import AddressFamily, ConditionFlag, InjectionType
from netns import scratch

PORT = 5000
BESIDE = {AddressFamily.INET: "10.2.0.9", AddressFamily.INET6: "fd02::9"}
"""Another address of the host on the right."""
SECRET, REDACTED = b"4711-0815", b"xxxx-xxxx"


@scenario(cases=("A02", "E01"), rules=("HC-8", "FW-1", "FW-3"))
def one_handle_sends_and_forwards(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """A handle with two types forwards clones of packets in transit and sends packets of its own.

    left --> mid (IPFORWARD: block, clone, forward; network send) --> right
    """
    traffic = Datagrams(routed.left, routed.right, family, port=PORT)
    here, there = routed.mid.address(family), routed.right.address(family)
    packet = udp_packet(here, there, b"of the router's own", ports=(4999, PORT))
    check("control before", traffic.exchange([b"plain"]), [b"plain"])
    with routed.mid.driver() as driver:
        handle = driver.create_handle(family, InjectionType.NETWORK | InjectionType.FORWARD)
        shown = []

        def forward(seen: Indication) -> None:
            if seen.view.destination_port != PORT:
                return seen.permit()
            shown.append(seen.info.group)
            way = seen.value("DESTINATION_INTERFACE_INDEX")
            handle.forward(seen.clone(), driver.done, family=family, interface=way)
            return seen.block(absorb=True)

        driver.add(forward, "IPFORWARD", family)
        payloads = [b"%d" % number for number in range(20)]
        check("forwarded", traffic.exchange(payloads), payloads)
        check("shown once each", len(shown), 20)
        handle.network_send(driver.create(packet), driver.done)
        routed.mid.stack.settle()
        traffic.canary()
        check("sent", drain(traffic.receiver), [b"of the router's own"])
    check("control after", traffic.exchange([b"plain"]), [b"plain"])


class Turn:
    """Forwards clones of packets to PORT with another destination; at IPFORWARD."""

    def __init__(self, driver: Driver, family: AddressFamily, destination: str) -> None:
        self.driver = driver
        self.family = family
        self.destination = destination
        self.handle = driver.create_handle(family, ALL_TYPES)

    def __call__(self, seen: Indication) -> None:
        if seen.view.destination_port != PORT:
            return seen.permit()
        clone = seen.clone()
        clone.write(0, with_ends(clone.octets, destination=self.destination))
        way = seen.value("DESTINATION_INTERFACE_INDEX")
        self.handle.forward(clone, self.driver.done, family=self.family, interface=way)
        return seen.block(absorb=True)


@scenario(cases=("E02",), rules=("FW-1", "FW-11"))
def a_changed_destination_in_transit(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """A forwarded packet with a new destination is routed anew, and its neighbour is looked for.

    left --> mid (IPFORWARD: destination .2 becomes .9) --> right (.9)
    """
    prefix = 24 if family == AddressFamily.INET else 64
    routed.right.namespace.interface("eth0").add_addresses(f"{BESIDE[family]}/{prefix}")
    traffic = Datagrams(routed.left, routed.right, family, port=PORT)
    beside = routed.right.socket(family, port=PORT, address=BESIDE[family])
    check("control before", traffic.exchange([b"straight"]), [b"straight"])
    wire = routed.right.wire()
    with routed.mid.driver() as driver:
        driver.add(Turn(driver, family, BESIDE[family]), "IPFORWARD", family)
        check("nothing arrives where it was sent to", traffic.exchange([b"turned"]), [])
        check("but at the new destination", beside.recv(100), b"turned")
        expected = [Like(destination=BESIDE[family], hop_limit=63, checksums=True)]
        check.packets("with its hop limit lowered once", wire.packets(port=PORT)[-1:], expected)
        routed.mid.stack.settle()
        check("completions", driver.done.counted(), {"SUCCESS": 1})
    check("control after", traffic.exchange([b"straight"]), [b"straight"])


@scenario(cases=("E03",), rules=("FW-7", "GE-15"))
def a_packet_in_transit_for_the_router_itself(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """Turned to the router's own address a packet is not forwarded; a transport receive delivers it.

    left --> mid (IPFORWARD: destination becomes mid; forward, then transport receive) --x  right
    """
    mid = routed.mid
    traffic = Datagrams(routed.left, routed.right, family, port=PORT)
    own = mid.socket(family, port=PORT)
    with mid.driver() as driver:
        turn = Turn(driver, family, mid.address(family))
        forwarding = driver.add(turn, "IPFORWARD", family)
        check("forwarded: nothing arrives on the right", traffic.exchange([b"forwarded"]), [])
        mid.stack.settle()
        check("nor at the router", drain(own), [])
        check("completions", driver.done.counted(), {"INVALID_PARAMETER": 1})
        driver.remove(*forwarding)
        driver.done.statuses.clear()

        def receive(seen: Indication) -> None:
            if seen.view.destination_port != PORT or seen.injected_by(turn.handle):
                return seen.permit()
            packet = with_ends(seen.copy(), destination=mid.address(family))
            arrival = seen.value("SOURCE_INTERFACE_INDEX")
            turn.handle.transport_receive(
                driver.create(packet), driver.done, family=family, interface=arrival, sub_interface=SUB_INTERFACE
            )
            return seen.block(absorb=True)

        driver.add(receive, "IPFORWARD", family)
        check("received: nothing arrives on the right", traffic.exchange([b"received"]), [])
        check("but at the router", own.recv(100), b"received")
        mid.stack.settle()
        check("completions then", driver.done.counted(), {"SUCCESS": 1})
    check("control after", traffic.exchange([b"straight"]), [b"straight"])


@scenario(cases=("E04",), rules=("FW-7", "LA-37"))
def traffic_for_the_other_address(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """What comes on one interface for the address of another passes through, and is received, not forwarded.

    left --> eth0 of mid (IPFORWARD: pass-through; for the address of eth1)
    """
    mid = routed.mid
    traffic = Datagrams(routed.left, mid, family, port=PORT)
    check("control before", traffic.exchange([b"plain"]), [b"plain"])
    ends = (mid.interface("eth0"), mid.interface("eth1"))
    shown: list[tuple[str, bool, int, int]] = []
    with mid.driver() as driver:
        handle = driver.create_handle(family, ALL_TYPES)
        by_forward = True

        def pass_on(seen: Indication) -> None:
            if seen.view.destination_port != PORT:
                return seen.permit()
            through = bool(seen.flags & ConditionFlag.IS_INBOUND_PASS_THRU)
            way = (seen.value("SOURCE_INTERFACE_INDEX"), seen.value("DESTINATION_INTERFACE_INDEX"))
            shown.append((handle.state(seen.net_buffer_list)[0].name, through, *way))
            if seen.injected_by(handle):
                return seen.permit()
            inject_by(handle, driver, seen, family, forward=by_forward)
            return seen.block(absorb=True)

        driver.add(pass_on, "IPFORWARD", family)
        check("forwarded: not delivered", traffic.exchange([b"weak"]), [])
        check("completions", driver.done.counted(), {"INVALID_PARAMETER": 1})
        check("shown", shown, [("NOT_INJECTED", True, *ends)])
        driver.done.statuses.clear()
        shown.clear()
        by_forward = False
        check("received: delivered", traffic.exchange([b"weak"]), [b"weak"])
        check("completions then", driver.done.counted(), {"SUCCESS": 1})
        expected = [("NOT_INJECTED", True, *ends), ("INJECTED_BY_SELF", True, *ends)]
        check("shown then", shown, expected)
    check("control after", traffic.exchange([b"plain"]), [b"plain"])


def inject_by(
    handle: InjectionHandle, driver: Driver, seen: Indication, family: AddressFamily, *, forward: bool
) -> None:
    """Inject a clone of what IPFORWARD shows, by forward or by network receive."""
    if forward:
        way = seen.value("DESTINATION_INTERFACE_INDEX")
        handle.forward(seen.clone(), driver.done, family=family, interface=way)
    else:
        arrival = seen.value("SOURCE_INTERFACE_INDEX")
        handle.network_receive(seen.clone(), driver.done, interface=arrival, sub_interface=SUB_INTERFACE)


@scenario(rules=("FW-1", "FW-3", "GE-16"), programs=("curl", "nginx", "dig", "dnsmasq"))
def a_router_redacts(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """A number is blacked out in web pages and in answers of a name server, on their way through the router.

    left (curl, dig) <-- mid (IPFORWARD: blacken, forward) <-- right (nginx, dnsmasq)
    """
    page = b"<p>My number is " + SECRET + b".</p>"
    redacted = page.replace(SECRET, REDACTED).decode()
    secret = SECRET.decode()
    address = routed.right.address(family)
    url = f"http://{bracketed(address)}/page"
    with scratch.folder() as folder:
        (folder / "page").write_bytes(page)
        web_server(routed.right, folder)
        name_server(routed.right, family, f"txt-record=host.test,number {secret}")
        check("control before: the page", shown_page(routed.left, url), page.decode())
        with routed.mid.driver() as driver:
            handle = driver.create_handle(family, InjectionType.FORWARD)

            def redact(seen: Indication) -> None:
                if SECRET not in seen.payload:
                    return seen.permit()
                packet = with_payload(seen.copy(), seen.payload.replace(SECRET, REDACTED))
                way = seen.value("DESTINATION_INTERFACE_INDEX")
                handle.forward(driver.create(packet), driver.done, family=family, interface=way)
                return seen.block(absorb=True)

            driver.add(redact, "IPFORWARD", family)
            wire = routed.left.wire()
            check("the page", shown_page(routed.left, url), redacted)
            for tcp in (False, True):
                answer = dig(routed.left, address, "host.test", "TXT", tcp=tcp)
                check(f"the answer by {'TCP' if tcp else 'UDP'}", answer, f'"number {REDACTED.decode()}"')
            packets = wire.packets()
            check("packets with the number, on the left", [SECRET in packet for packet in packets].count(True), 0)
            blackened = [packet for packet in packets if REDACTED in packet]
            right = [right_checksums(packet) for packet in blackened]
            check("with it blackened, and right checksums", right, [True] * 3)
            routed.mid.stack.settle()
            check("completions", driver.done.counted(), {"SUCCESS": 3})
        check("control after: the page", shown_page(routed.left, url), page.decode())


def shown_page(client: Host, url: str) -> str:
    """What curl prints of a page."""
    return str(client.run("curl", "-sS", "--fail", "--max-time", "20", url, timeout=30, check=False).stdout)


def right_checksums(packet: bytes) -> bool:
    """Whether a packet's checksums are right."""
    return not Like(checksums=True).differences(packet) and IpView(packet).protocol in (6, 17)
