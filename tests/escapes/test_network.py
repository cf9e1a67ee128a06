"""Networks: there are none, and neither are sockets that lead out of the process."""

import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.escapes.inside import calls, inside, outside

NUMBERS = {
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "bind": 49,
    "listen": 50,
    "getsockname": 51,
    "setsockopt": 54,
    "accept4": 288,
    "sendmmsg": 307,
}


class Ear:
    """A socket of the host, and what arrives there."""

    def __init__(self, family: int, kind: int, address: Any) -> None:
        self.socket = socket.socket(family, kind)
        self.socket.bind(address)
        self.heard: list[Any] = []
        if kind == socket.SOCK_STREAM:
            self.socket.listen()
        self.socket.settimeout(0.02)
        self.open = True
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while self.open:
            try:
                if self.socket.type == socket.SOCK_STREAM:
                    self.socket.accept()[0].close()
                    self.heard.append("somebody")
                else:
                    self.heard.append(self.socket.recv(100))
            except TimeoutError:
                pass

    def close(self) -> list[Any]:
        self.open = False
        self.thread.join()
        self.socket.close()
        return self.heard


def loopback(kind: int) -> tuple[Ear, int]:
    ear = Ear(socket.AF_INET, kind, ("127.0.0.1", 0))
    return ear, ear.socket.getsockname()[1]


def refused(found: list[list[Any]]) -> bool:
    return bool(found) and all(outcome == "refused" for outcome, _ in found)


def test_connects_to_the_hosts_loopback() -> None:
    source = """
def attack(port):
    def go():
        with socket.create_connection(("127.0.0.1", port), 1):
            pass
    return [tried(go)]
"""
    ear, port = loopback(socket.SOCK_STREAM)
    assert refused(inside(source, port))
    assert ear.close() == []
    ear, port = loopback(socket.SOCK_STREAM)
    assert outside(source, port) == [["got", None]]
    assert ear.close() == ["somebody"]


def test_sends_datagrams_to_the_hosts_loopback() -> None:
    source = """
def attack(port):
    return [tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                  .sendto(b"x", ("127.0.0.1", port)))]
"""
    ear, port = loopback(socket.SOCK_DGRAM)
    assert refused(inside(source, port))
    assert ear.close() == []
    ear, port = loopback(socket.SOCK_DGRAM)
    assert outside(source, port) == [["got", 1]]


def test_resolves_a_name() -> None:
    source = """
def attack():
    return [tried(socket.getaddrinfo, "example.com", 80), tried(socket.gethostbyname, "localhost")]
"""
    assert outside(source)[1][0] == "got"
    assert refused(inside(source))


def test_opens_sockets_of_any_family() -> None:
    source = """
def attack():
    found = {}
    for family in range(0, 64):
        for kind in range(1, 7):
            outcome = called(41, family, kind, 0)
            if outcome != ["refused", "ENOSYS"]:
                found[f"{family} {kind}"] = outcome
    return found
"""
    # Among them inet, inet6, unix, netlink, packet, alg, vsock and xdp. Out here the kernel would
    # load a module for each.
    assert outside("def attack(): return [called(41, 1, 1, 0)]")[0][0] == "got"
    assert inside(source) == {}


def test_uses_a_pair_of_sockets_as_a_way_out() -> None:
    """Pairs are allowed; nothing that makes more of them is."""
    source = """
def attack(numbers):
    a, b = socket.socketpair()
    buffer = ctypes.create_string_buffer(64)
    return [called(number, a.fileno(), buffer, 64, buffer) for number in numbers]
"""
    assert refused(inside(source, list(NUMBERS.values())))
    families = """
def attack():
    pair = (ctypes.c_int * 2)()
    return [called(53, family, 1, 0, pair) for family in range(64) if family != 1]
"""
    assert refused(inside(families))


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_reaches_an_abstract_unix_socket_of_the_host(kind: str, token: str) -> None:
    source = """
def attack(kind, name):
    def go():
        with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as mine:
            mine.connect("\\0" + name)
    return [tried(go)]
"""
    ear = Ear(socket.AF_UNIX, getattr(socket, kind), f"\0{token}")
    try:
        assert outside(source, kind, token) == [["got", None]]
        ear.heard.clear()
        assert refused(inside(source, kind, token))
    finally:
        assert ear.close() in ([], ["somebody"])


def send_by_pair(address: str) -> str:
    """Datagram pairs may be sent from to any address, without any other call."""
    return f"""
def attack(name):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return [tried(a.sendto, b"x", {address}), tried(a.sendmsg, [b"x"], [], 0, {address})]
"""


def test_sends_to_an_abstract_unix_socket_from_a_pair(token: str) -> None:
    ear = Ear(socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{token}")
    found = inside(send_by_pair("'\\0' + name"), token)
    assert ear.close() == []
    assert refused(found)
    ear = Ear(socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{token}")
    assert outside(send_by_pair("'\\0' + name"), token) == [["got", 1]] * 2


def test_sends_to_a_unix_socket_in_the_file_system() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = f"{folder}/s"
        ear = Ear(socket.AF_UNIX, socket.SOCK_DGRAM, path)
        os.chmod(folder, 0o777)
        os.chmod(path, 0o777)
        found = inside(send_by_pair("name"), path)
        assert ear.close() == []
        assert refused(found)


def test_opens_a_netlink_socket() -> None:
    source = "def attack(): return [called(41, 16, 3, protocol) for protocol in range(24)]"
    assert outside("def attack(): return [called(41, 16, 3, 0)]")[0][0] == "got"
    assert refused(inside(source))


def test_opens_a_packet_or_raw_socket() -> None:
    source = """
def attack():
    return [called(41, 17, 3, 0x300), called(41, 17, 2, 0x300), called(41, 2, 3, 1),
            called(41, 2, 3, 255), called(41, 10, 3, 58)]
"""
    assert refused(inside(source))


def test_opens_a_vsock() -> None:
    assert refused(inside("def attack(): return [called(41, 40, 1, 0), called(41, 40, 2, 0)]"))


def test_listens_for_somebody_outside(token: str) -> None:
    source = """
def attack(name):
    def listen(family, address):
        mine = socket.socket(family)
        mine.bind(address)
        mine.listen()
    found = [tried(listen, socket.AF_INET, ("0.0.0.0", 0))]
    return found + [tried(listen, socket.AF_UNIX, at + name) for at in ("\\0", "/tmp/")]
"""
    assert refused(inside(source, token))
    assert not Path("/tmp", token).exists()


def test_lists_the_networks_of_the_host() -> None:
    source = """
def attack():
    a, b = socket.socketpair()
    table = ctypes.create_string_buffer(4096)
    ask = ctypes.create_string_buffer(struct.pack("iP", 4096, ctypes.addressof(table)))
    libc.ioctl(a.fileno(), 0x8912, ask)  # SIOCGIFCONF
    used = struct.unpack("i", ask.raw[:4])[0]
    return [tried(socket.if_nameindex), ["got", table.raw[:used].hex()]]
"""
    by_name, by_pair = inside(source)
    assert by_name[0] == "refused"
    # The loopback of the sandbox, which leads to nobody, and where no socket can be made.
    table = bytes.fromhex(by_pair[1])
    names = {table[at : at + 16].rstrip(b"\0") for at in range(0, len(table), 40)}
    assert names <= {b"lo"}


def test_asks_for_a_socket_as_a_32_bit_program_would() -> None:
    """The filter knows the calls of one architecture; the kernel has three."""
    source = """
import mmap
def attack():
    code = bytes.fromhex("53b867010000bb02000000b901000000ba00000000cd805bc3")  # socket by int 0x80
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
    page.write(code)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_long)(at)()
"""
    (result,) = calls(source, same=lambda got, _: got >= 0)
    assert result.status in ("failed", "crashed")


def test_asks_for_a_socket_as_an_x32_program_would() -> None:
    (result,) = calls(
        "def attack(): return libc.syscall(0x40000000 + 41, 2, 1, 0)", same=lambda got, _: got >= 0
    )
    assert result.status in ("failed", "crashed")
