"""A TCP proxy that is far away: everything arrives later, and no slower unless told.

Each direction takes half of the round trip, whatever is on its way already, so
bandwidth stays what it was, but for an upper limit of bytes a second for each
direction of a connection. A new connection costs a round trip more, which
loopback would give away. A program of its own, so that it takes no time from
the one that measures: prints its port, and ends when its standard input does.

    python3 delay.py PORT ROUND_TRIP_IN_MILLISECONDS [BYTES_A_SECOND]
"""

import asyncio
import os
import sys
from collections import deque

# Bytes of one direction that may be on their way: far more than any connection
# here moves in a round trip.
FLYING = 64 << 20


class End(asyncio.Protocol):
    """One end of a connection; what it hears it gives to the other end later."""

    def __init__(self, delay, connecting, rate):
        self.loop = asyncio.get_running_loop()
        # Seconds that a byte takes, and when the line is free for the next.
        self.takes = 1 / rate if rate else 0
        self.free = 0
        # What waits for a narrow line is at most what comes through in a second.
        self.most = min(FLYING, rate or FLYING)
        self.delay = delay
        # Nothing that came with the handshake arrives before this.
        self.earliest = self.loop.time() + connecting + delay
        self.transport = None
        self.other = None
        self.queue = deque()
        self.flying = 0
        self.timer = None
        self.writable = True
        self.finished = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        now = self.loop.time()
        self.free = max(self.free, now) + len(data) * self.takes
        self.queue.append((max(self.free + self.delay, self.earliest), data))
        self.flying += len(data)
        if self.flying > self.most:
            self.transport.pause_reading()
        self.wake()

    def eof_received(self):
        self.queue.append((max(max(self.free, self.loop.time()) + self.delay, self.earliest), None))
        self.wake()
        # The other direction may have more to say.
        return True

    def wake(self):
        """Sees to it that the next bytes arrive in time."""
        if self.queue and self.other and self.timer is None and self.other.writable:
            self.timer = self.loop.call_at(self.queue[0][0], self.arrive)

    def arrive(self):
        self.timer = None
        now = self.loop.time()
        while self.queue and self.queue[0][0] <= now and self.other.writable:
            _, data = self.queue.popleft()
            if data is None:
                return self.finish()
            # It broke off, which connection_lost hears of only after this.
            if self.other.transport.is_closing():
                return self.queue.clear()
            self.other.transport.write(data)
            self.flying -= len(data)
        if self.flying <= self.most and not self.transport.is_closing():
            self.transport.resume_reading()
        self.wake()

    def finish(self):
        """Tells the other end that nothing more comes."""
        self.finished = True
        if not self.other.transport.is_closing():
            self.other.transport.write_eof()
        if self.other.finished:
            self.transport.close()
            self.other.transport.close()

    def pause_writing(self):
        self.writable = False

    def resume_writing(self):
        self.writable = True
        self.other.wake()

    def connection_lost(self, error):
        # It broke off: the other end can neither be heard nor answered.
        if self.other and error:
            self.queue.clear()
            self.other.queue.clear()
            self.other.transport.close()


async def main(port, round_trip, rate):
    loop = asyncio.get_running_loop()

    class Near(End):
        """The end of whoever is made to wait."""

        def __init__(self):
            super().__init__(round_trip / 2, round_trip, rate)

        def connection_made(self, transport):
            super().connection_made(transport)
            loop.create_task(self.connect())

        async def connect(self):
            try:
                _, far = await loop.create_connection(lambda: End(round_trip / 2, 0, rate), "127.0.0.1", port)
            except OSError:
                return self.transport.abort()
            self.other, far.other = far, self
            if self.transport.is_closing():
                return far.transport.close()
            self.wake()
            far.wake()

    server = await loop.create_server(Near, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    # Whatever is still on its way has nobody left to wait for it.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]) / 1000, int((sys.argv[3:] or ["0"])[0])))
