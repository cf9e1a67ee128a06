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


def receive(
    channel: socket.socket,
    limit: int = 1 << 30,
    deadline: float | None = None,
    more: bool = False,
) -> bytes:
    """Wait for one message.

    Args:
        channel: where from.
        limit: the most bytes that it may have.
        deadline: when to give up, by the monotonic clock; None waits for ever.
        more: whether others may follow unasked; where not, one call of the system will often do.

    Raises:
        Closed: the other side is gone.
        ValueError: it is longer than ``limit`` bytes, or more follows; the channel is of no more
            use.
        TimeoutError: it is not there in time, all of it; the channel is of no more use.
    """
    message = Message(limit, more)
    while not message.complete:
        # Each part anew: whoever sends may do so a byte at a time.
        _until(channel, deadline)
        message.take(channel)
    return message.body()


class Message:
    """One message that arrives in parts.

    Args:
        limit: the most bytes that it may have.
        more: whether others may follow unasked.
    """

    def __init__(self, limit: int, more: bool = False) -> None:
        self.limit, self.length, self.more = limit, -1, more
        self.parts: list[bytes] = []
        self.have = -_HEAD.size
        """Bytes of it that are there; below 0, of what goes before it."""

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return self.have == self.length

    def body(self) -> bytes:
        """The message, once it is complete."""
        return b"".join(self.parts)[_HEAD.size :]

    def take(self, channel: socket.socket) -> None:
        """Take what is there.

        Raises:
            Closed: the other side is gone.
            ValueError: the message is too long, or more than one.
        """
        left = max(self.length, 0) - self.have
        try:
            most = 4096 if self.length < 0 and not self.more else min(left, 1 << 20)
            part = channel.recv(most)
        except BlockingIOError:
            return
        except ConnectionResetError:
            part = b""
        if not part:
            raise Closed("the other side is gone")
        self.parts.append(part)
        self.have += len(part)
        if self.length < 0 <= self.have:
            (self.length,) = _HEAD.unpack(b"".join(self.parts)[: _HEAD.size])
            if self.length > self.limit:
                raise ValueError(f"a message of {self.length:,} bytes, at most {self.limit:,}")
        if self.have > self.length >= 0:
            raise ValueError("more than one message")


def _until(channel: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        if channel.gettimeout() is not None:
            channel.settimeout(None)
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    channel.settimeout(left)
