"""A bad line between this machine and a namespace of it: narrow, slow, lossy, and now and then cut.

Every packet between the two goes through this process, which holds it back as a line would; what
TCP makes of it is the kernel's own doing. (The kernel's own `netem` is not on every machine.)
"""

import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

HERE, THERE = "10.77.7.1", "10.77.7.2"
LARGEST_PACKET = 65_536
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


@dataclass
class SlowLink:
    """The line; open it as a context.

    Args:
        mbit: Megabits a second, in each direction.
        delay: Seconds from one end to the other.
        loss: Share of packets that are lost.
        queue_seconds: How long a packet may wait for those before it; one that would wait longer is lost.
    """

    mbit: float
    delay: float = 0.0
    loss: float = 0.0
    queue_seconds: float = 0.5
    name: str = field(default_factory=lambda: f"lego-{os.getpid()}")
    is_cut: bool = field(default=False, init=False)
    bytes_carried: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        self._ends = [_open_tun(f"lego{os.getpid() % 10_000}{end}") for end in "ab"]
        (_, near), (_, far) = self._ends
        inside = ["ip", "netns", "exec", self.name]
        for command in (
            ["ip", "netns", "add", self.name],
            ["ip", "link", "set", far, "netns", self.name],
            ["ip", "addr", "add", f"{HERE}/30", "dev", near],
            ["ip", "link", "set", near, "up"],
            [*inside, "ip", "addr", "add", f"{THERE}/30", "dev", far],
            [*inside, "ip", "link", "set", far, "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True)
        self._is_open = True
        self._carrier = threading.Thread(target=self._carry, daemon=True)
        self._carrier.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._carrier.join()
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        for end, _ in self._ends:
            os.close(end)

    def at_the_other_end(self, command: Sequence[str]) -> list[str]:
        """The command that runs there."""
        return ["ip", "netns", "exec", self.name, *command]

    def _carry(self) -> None:
        ends = [end for end, _ in self._ends]
        free = dict.fromkeys(ends, 0.0)  # when the line has sent all that it took
        flying: list[tuple[float, int, int, bytes]] = []
        fate = random.Random(1)
        number = 0
        with selectors.DefaultSelector() as ready:
            for end in ends:
                ready.register(end, selectors.EVENT_READ)
            while self._is_open:
                wait = min(max(flying[0][0] - time.monotonic(), 0.0), 0.1) if flying else 0.1
                for key, _ in ready.select(wait):
                    packet = os.read(key.fd, LARGEST_PACKET)
                    now = time.monotonic()
                    begins = max(now, free[key.fd])
                    if self.is_cut or begins - now > self.queue_seconds or fate.random() < self.loss:
                        continue
                    free[key.fd] = begins + len(packet) * 8 / (self.mbit * 1e6)
                    target = ends[1 - ends.index(key.fd)]
                    number += 1
                    heapq.heappush(flying, (free[key.fd] + self.delay, number, target, packet))
                while flying and flying[0][0] <= time.monotonic():
                    _, _, target, packet = heapq.heappop(flying)
                    if not self.is_cut:
                        os.write(target, packet)
                        self.bytes_carried += len(packet)


def _open_tun(name: str) -> tuple[int, str]:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return end, name
