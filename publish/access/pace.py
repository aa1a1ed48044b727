"""How often somebody may do something: token buckets, one for each client, for as many clients as are remembered."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

# Clients beyond these are forgotten, those unseen for longest first: they then begin with a full bucket.
MOST_CLIENTS = 4096


class Pace:
    """`burst` at once, and `rate` a second in the long run. Time is given: monotonic seconds."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is in it, and when that was so

    def wait_s(self, client: str, now_s: float) -> float:
        """Seconds until one may be taken; 0: now. Takes nothing."""
        return max(0.0, (1.0 - self._filled(client, now_s)) / self._rate)

    def take(self, client: str, now_s: float) -> float:
        """Takes one if there is one; else the seconds until there will be."""
        filled = self._filled(client, now_s)
        if filled < 1.0:
            return (1.0 - filled) / self._rate
        self._buckets[client] = filled - 1.0, now_s
        self._buckets.move_to_end(client)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0

    def _filled(self, client: str, now_s: float) -> float:
        filled, at_s = self._buckets.get(client, (self._burst, now_s))
        return min(self._burst, filled + (now_s - at_s) * self._rate)


def client_of(address: str) -> str:
    """Who an address belongs to, as far as that can be told: in IPv6 a network of 64 bits."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return bool((ip.ipv4_mapped or ip).is_loopback) if isinstance(ip, ipaddress.IPv6Address) else ip.is_loopback
