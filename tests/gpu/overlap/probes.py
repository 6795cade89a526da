"""The watchdog's side of the kernel probe, for measurements alone: it speaks the frames of src/probe/wire.rs over a
unix socket, orders windows and gathers what comes; and the sweep over intervals that both the probe's figures and the
truth go through. Starts no process."""

import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from outside import wait_for

HELLO, UNAVAILABLE, KERNELS, RECORD = 1, 2, 3, 4
LONGEST = 1 << 20
AHEAD = 0.15  # seconds from an order to its window, as the watchdog leaves them


def put(number):
    """LEB128."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


class Body:
    """Reads the numbers of a frame's body, one after the other."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self):
        number = shift = 0
        while True:
            byte = self.body[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def take_signed(self):
        number = self.take()
        return number >> 1 ^ -(number & 1)


@dataclass
class Kernels:
    """What one probe said of one window. Times are nanoseconds of CLOCK_REALTIME."""

    window: int
    covered: tuple
    dropped: int
    times: list
    arrived: int


def read_kernels(body):
    """The Kernels of a frame's body, tag included."""
    arrived, rest = time.time_ns(), Body(body[1:])
    window, begin = rest.take(), rest.take()
    end = begin + rest.take_signed()
    dropped, count = rest.take(), rest.take()
    times, before = [], begin
    for _ in range(count):
        before += rest.take_signed()
        times.append((before, before + rest.take()))
    return Kernels(window, (begin, end), dropped, times, arrived)


def record(window, begin, end):
    """The frame of an order."""
    body = bytes([RECORD]) + put(window) + put(begin) + put(end - begin)
    return struct.pack("<I", len(body)) + body


@dataclass
class Probe:
    """One connected probe."""

    pid: int
    connection: socket.socket
    greeted: bool = False
    why_not: str = ""  # it is unavailable
    lost: bool = False
    kernels: dict = field(default_factory=dict)  # by window


class Watch:
    """Listens on a socket, and knows every probe that came."""

    def __init__(self, path):
        self.path, self.probes, self.windows = path, {}, 0
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            probe = Probe(struct.unpack("3i", credentials)[0], connection)
            self.probes[probe.pid] = probe
            threading.Thread(target=self._listen, args=(probe,), daemon=True).start()

    def _listen(self, probe):
        try:
            with probe.connection.makefile("rb") as stream:
                while len(head := stream.read(4)) == 4:
                    length = struct.unpack("<I", head)[0]
                    body = stream.read(length) if length <= LONGEST else b""
                    if not body or len(body) < length:
                        break
                    self._hear(probe, body)
        except OSError:
            pass
        probe.lost = True

    @staticmethod
    def _hear(probe, body):
        if body[0] == HELLO:
            probe.greeted = True
        elif body[0] == UNAVAILABLE:
            probe.why_not = body[1:].decode("utf-8", "replace")
        elif body[0] == KERNELS:
            found = read_kernels(body)
            probe.kernels[found.window] = found

    def wait_for(self, pids, seconds):
        """The probes of these processes, once all said hello; those that did, after `seconds`."""
        wait_for(lambda: all(pid in self.probes and self.probes[pid].greeted for pid in pids), seconds)
        return [self.probes[pid] for pid in pids if pid in self.probes]

    def window(self, probes, length, ahead=AHEAD, patience=2.0):
        """One window of `length` seconds: (from, to, the Kernels of each probe or None)."""
        self.windows += 1
        number, begin = self.windows, time.time_ns() + int(ahead * 1e9)
        end = begin + int(length * 1e9)
        for probe in probes:
            try:
                probe.connection.sendall(record(number, begin, end))
            except OSError:
                probe.lost = True
        answered = lambda: all(number in probe.kernels or probe.why_not or probe.lost for probe in probes)
        wait_for(answered, ahead + length + patience)
        return begin, end, [probe.kernels.pop(number, None) for probe in probes]

    def close(self):
        """No probe comes any more; those that did lose their watchdog."""
        self.listener.close()
        for probe in self.probes.values():
            probe.connection.close()
        os.unlink(self.path)


def merged(times, begin, end):
    """The union of intervals within [begin, end), sorted."""
    union = []
    for start, stop in sorted(times):
        start, stop = max(start, begin), min(stop, end)
        if start >= stop:
            continue
        if union and start <= union[-1][1]:
            union[-1][1] = max(union[-1][1], stop)
        else:
            union.append([start, stop])
    return union


def shares(clients, begin, end):
    """Shares of [begin, end) with exactly 0, 1, 2 ... of the clients busy; each client is a list of intervals."""
    edges = []
    for times in clients:
        for start, stop in merged(times, begin, end):
            edges += [(start, 1), (stop, -1)]
    spent, busy, before = [0] * (len(clients) + 1), 0, begin
    for moment, change in sorted(edges):
        spent[busy] += moment - before
        busy, before = busy + change, moment
    spent[busy] += end - before
    return [time / (end - begin) for time in spent]
