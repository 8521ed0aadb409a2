"""A program that makes traffic inside a host of a torture run; one JSON line at its end says what came of it.

    python -m emulator.torture.source echo    ADDRESS PORT           answers datagrams until its input ends
    python -m emulator.torture.source window  ADDRESS PORT SECONDS   keeps datagrams under way, waits for echoes
    python -m emulator.torture.source flood   ADDRESS PORT SECONDS RATE
    python -m emulator.torture.source serve   ADDRESS PORT           TCP: sends back what it reads
    python -m emulator.torture.source stream  ADDRESS PORT SECONDS   TCP: sends lines and reads them back

Standard library only: it runs as another user, who may not read the tree, and starts in a moment.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import threading
import time

WINDOW = 32
LOST_AFTER_SECONDS = 8.0
"""An echo that has not come after this is counted as lost."""
_NUMBER = struct.Struct("!Q")
_LINE = b"torture torture torture torture torture torture torture 0123456789\n" * 16
_BUFFER = 4 << 20


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _udp(address: str) -> socket.socket:
    made = socket.socket(_family(address), socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return made


def _until_input_ends(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


def _stop_event() -> threading.Event:
    stop = threading.Event()
    threading.Thread(target=_until_input_ends, args=(stop,), daemon=True).start()
    return stop


def echo(address: str, port: int) -> dict[str, float]:
    """Answer each datagram with itself, until standard input ends."""
    stop, count = _stop_event(), 0
    with _udp(address) as server:
        server.bind((address, port))
        server.settimeout(0.2)
        _ready()
        while not stop.is_set():
            try:
                data, source = server.recvfrom(65536)
            except TimeoutError:
                continue
            server.sendto(data, source)
            count += 1
    return {"echoed": count}


def window(address: str, port: int, seconds: float) -> dict[str, float]:
    """Keep a window of numbered datagrams under way, each sent when an echo has come; nothing is lost but by loss."""
    sent = echoed = twice = lost = 0
    under_way: dict[int, float] = {}
    began = time.monotonic()
    with _udp(address) as client:
        client.connect((address, port))
        client.setblocking(False)
        poller = select.poll()
        poller.register(client, select.POLLIN)
        while True:
            now = time.monotonic()
            over = now - began >= seconds
            if over and not under_way:
                break
            while not over and len(under_way) < WINDOW:
                client.send(_NUMBER.pack(sent) + b"x" * 56)
                under_way[sent] = now
                sent += 1
            if not poller.poll(200):
                late = [number for number, since in under_way.items() if now - since > LOST_AFTER_SECONDS]
                lost += len(late)
                for number in late:
                    del under_way[number]
                continue
            while True:
                try:
                    (number,) = _NUMBER.unpack_from(client.recv(65536))
                except BlockingIOError:
                    break
                if under_way.pop(number, None) is None:
                    twice += 1
                else:
                    echoed += 1
    return {"sent": sent, "echoed": echoed, "twice or late": twice, "lost": lost, "seconds": time.monotonic() - began}


def flood(address: str, port: int, seconds: float, rate: float) -> dict[str, float]:
    """Send numbered datagrams at a rate, whatever becomes of them."""
    sent, where = 0, (address, port)
    with _udp(address) as client:  # not connected: what comes back is of no interest
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * rate)
            if sent >= due:
                time.sleep(0.0005)
            while sent < due:
                client.sendto(_NUMBER.pack(sent) + b"x" * 56, where)
                sent += 1
    return {"sent": sent, "seconds": time.monotonic() - began, "ended": time.monotonic()}


def serve(address: str, port: int) -> dict[str, float]:
    """Accept connections one after the other, and send back what comes, until standard input ends."""
    stop, octets = _stop_event(), 0
    with socket.create_server((address, port), family=_family(address)) as server:
        server.settimeout(0.2)
        _ready()
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(30)
                while data := connection.recv(65536):
                    connection.sendall(data)
                    octets += len(data)
    return {"octets": octets}


def stream(address: str, port: int, seconds: float) -> dict[str, float]:
    """Send lines over one connection after the other and read each back; what differs is counted."""
    began, octets, connections, wrong = time.monotonic(), 0, 0, 0
    while time.monotonic() - began < seconds:
        with socket.create_connection((address, port), timeout=30) as connection:
            connections += 1
            for _ in range(64):
                connection.sendall(_LINE)
                back = _read_exactly(connection, len(_LINE))
                wrong += back != _LINE
                octets += len(back)
            connection.shutdown(socket.SHUT_WR)
            wrong += connection.recv(1) != b""
    return {"octets": octets, "connections": connections, "wrong": wrong}


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        data = connection.recv(size - len(parts))
        if not data:
            break
        parts += data
    return bytes(parts)


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """Do what the first argument names, then print its figures as JSON."""
    what, address, port, *numbers = arguments
    work = {"echo": echo, "window": window, "flood": flood, "serve": serve, "stream": stream}[what]
    figures = work(address, int(port), *map(float, numbers))  # type: ignore[operator]
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
