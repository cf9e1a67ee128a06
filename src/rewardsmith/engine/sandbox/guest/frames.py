"""Messages over a socket: four bytes of length, then the message."""

import socket
import struct
import time

_HEAD = struct.Struct(">I")


class Closed(EOFError):  # noqa: N818 - it reads as what it is
    """The other side is gone."""


def send(channel: socket.socket, message: bytes, deadline: float | None = None) -> None:
    """Send one message.

    Args:
        channel: where to.
        message: what.
        deadline: when to give up, by the monotonic clock; None waits for ever.

    Raises:
        Closed: nobody is there.
        TimeoutError: it is not taken in time; the channel is of no more use.
    """
    _until(channel, deadline)
    try:
        channel.sendall(_HEAD.pack(len(message)) + message)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed(str(error)) from None


def receive(channel: socket.socket, limit: int = 1 << 30, deadline: float | None = None) -> bytes:
    """Wait for one message.

    Raises:
        Closed: the other side is gone.
        ValueError: it is longer than ``limit`` bytes; the channel is of no more use.
        TimeoutError: it is not there in time, all of it; the channel is of no more use.
    """
    (length,) = _HEAD.unpack(_exactly(channel, _HEAD.size, deadline))
    if length > limit:
        raise ValueError(f"a message of {length:,} bytes, at most {limit:,}")
    return _exactly(channel, length, deadline)


class Message:
    """One message that arrives in parts, over a socket that does not block.

    Args:
        limit: the most bytes that it may have.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.length = limit, -1
        self.body = bytearray()

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return len(self.body) == self.length

    def take(self, channel: socket.socket) -> None:
        """Take what is there.

        Raises:
            Closed: the other side is gone.
            ValueError: the message is too long.
        """
        left = (_HEAD.size if self.length < 0 else self.length) - len(self.body)
        try:
            part = channel.recv(min(left, 1 << 20))
        except BlockingIOError:
            return
        except ConnectionResetError:
            part = b""
        if not part:
            raise Closed("the other side is gone")
        self.body += part
        if self.length < 0 and len(self.body) == _HEAD.size:
            (self.length,) = _HEAD.unpack(self.body)
            self.body.clear()
            if self.length > self.limit:
                raise ValueError(f"a message of {self.length:,} bytes, at most {self.limit:,}")


def _exactly(channel: socket.socket, n: int, deadline: float | None) -> bytes:
    parts, left = [], n
    while left:
        # Each part anew: whoever sends may do so a byte at a time.
        _until(channel, deadline)
        try:
            part = channel.recv(min(left, 1 << 20))
        except ConnectionResetError:
            part = b""
        if not part:
            raise Closed("the other side is gone")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _until(channel: socket.socket, deadline: float | None) -> None:
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise TimeoutError
    channel.settimeout(left)
