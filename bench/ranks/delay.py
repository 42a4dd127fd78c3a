"""Carries packets between two network devices that it makes, each so many seconds after it came: delay.py SECONDS DEVICE DEVICE.

Says "ready" once the devices are there; ends, and they with it, when its standard input ends.
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, TUN, BARE = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


def device(name: str) -> int:
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH14x", name.encode(), TUN | BARE))
    return file


def main(seconds: float, names: list[str]) -> None:
    ends = [device(name) for name in names]
    other = dict(zip(ends, reversed(ends), strict=True))
    under_way: collections.deque[tuple[float, int, bytes]] = collections.deque()
    print("ready", flush=True)
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        came = select.select([*ends, 0], [], [], wait)[0]
        if 0 in came and not os.read(0, 1):
            return
        for end in came:
            if end == 0:
                continue
            try:
                while True:
                    packet = os.read(end, 65536)
                    under_way.append((time.monotonic() + seconds, other[end], packet))
            except BlockingIOError:
                pass
            except OSError:
                return  # the machine that had it is gone
        while under_way and under_way[0][0] <= time.monotonic():
            _, end, packet = under_way.popleft()
            try:
                os.write(end, packet)
            except OSError:
                pass  # the other end is not up yet, or full: a network loses packets too


main(float(sys.argv[1]), sys.argv[2:4])
