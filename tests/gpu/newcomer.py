"""What a starting client of a real MPS shows from outside: its connections to the pipe directory, and whether the server lists
it, after each step of CUDA's start. What newcomers_hang rests on. Prints a table last; needs root, a GPU and the MPS binaries.

usage: newcomer.py    (from the repository root; it uses a daemon and a directory of its own)
"""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

STEPS = ["start", "cuInit", "context", "context gone"]


def child():
    """Goes on one step for each line of its input, and says when it is done."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context = ctypes.c_void_p()
    deeds = [lambda: 0, lambda: cuda.cuInit(0), lambda: cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
             lambda: cuda.cuDevicePrimaryCtxRelease_v2(0)]
    for deed in deeds:
        sys.stdin.readline()
        print(deed(), flush=True)
    sys.stdin.readline()


def peers(directory):
    """Inodes of the other ends of all connections to sockets in `directory`."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:
        netlink.settimeout(5)
        body = struct.pack("=BBHIII8s", 1, 0, 0, 0xFFFFFFFF, 0, 1 | 4 | 8, b"\xff" * 8)
        netlink.send(struct.pack("=IHHII", 16 + len(body), 20, 0x301, 1, 0) + body)
        found = set()
        while True:
            data, at = netlink.recv(1 << 17), 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind in (2, 3):
                    return found
                name, ends, place = b"", [], at + 32
                while place < at + length:
                    size, tag = struct.unpack_from("=HH", data, place)
                    value = data[place + 4:place + size]
                    if tag == 0:
                        name = value.rstrip(b"\0")
                    elif tag in (2, 3):
                        ends += struct.unpack(f"={len(value) // 4}I", value)
                    place += (size + 3) & ~3
                if name.startswith(directory.encode()):
                    found.update(ends)
                at += (length + 3) & ~3


def connections(pid, directory):
    held = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    return sum(f"socket:[{inode}]" in held for inode in peers(directory))


def main():
    pipe = tempfile.mkdtemp(prefix="mwn", dir="/tmp")
    os.chmod(pipe, 0o755)
    environment = os.environ | {"CUDA_MPS_PIPE_DIRECTORY": pipe, "CUDA_MPS_LOG_DIRECTORY": pipe}
    daemon = subprocess.Popen(["nvidia-cuda-mps-control", "-f"], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = []

    def ask(command):
        ended = subprocess.run(["nvidia-cuda-mps-control"], input=command + "\n", env=environment, capture_output=True,
                               text=True, timeout=10)
        return ended.stdout.split()

    try:
        deadline = time.monotonic() + 20
        while not os.path.exists(f"{pipe}/control") and time.monotonic() < deadline:
            time.sleep(0.05)
        ask("start_server -uid 0")
        while not ask("get_server_list") and time.monotonic() < deadline:
            time.sleep(0.1)
        server = ask("get_server_list")[0]
        client = subprocess.Popen([sys.executable, __file__, "child"], env=environment, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        for step in STEPS:
            client.stdin.write("\n")
            client.stdin.flush()
            status = client.stdout.readline().strip()
            time.sleep(0.5)
            rows.append((step, status, connections(client.pid, pipe), str(client.pid) in ask(f"get_client_list {server}")))
        # While this one is a client of root's server, one of another user waits.
        waiting = subprocess.Popen([sys.executable, __file__, "child"], env=environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, text=True, user=65534, group=65534)
        client.stdin.close()
        holder = subprocess.Popen([sys.executable, __file__, "child"], env=environment, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            holder.stdin.write("\n")
            holder.stdin.flush()
            holder.stdout.readline()
        waiting.stdin.write("\n\n\n")
        waiting.stdin.flush()
        time.sleep(3)
        rows.append(("another user's", "waits", connections(waiting.pid, pipe), str(waiting.pid) in ask(f"get_client_list {server}")))
        waiting.kill()
        holder.kill()
    finally:
        try:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit -t 2\n", env=environment, text=True, timeout=20)
        finally:
            daemon.kill()
            daemon.wait(20)
            shutil.rmtree(pipe, ignore_errors=True)
    print(f"{'after':14} {'status':>6} {'connections':>11} {'listed':>6}")
    for step, status, count, listed in rows:
        print(f"{step:14} {status:>6} {count:>11} {'yes' if listed else 'no':>6}")


if __name__ == "__main__":
    child() if sys.argv[1:] else main()
