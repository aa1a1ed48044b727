"""How long to wait after failures in a row, and what a peer's `Retry-After` asks for."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
# A peer may ask for peace, but not for ever.
MAX_ASKED_S = 3600.0


def delay_s(failures: int, rng: random.Random) -> float:
    """Seconds after so many failures (1, 2, …): doubling, capped, and off by up to a fifth, lest all come at once."""
    return float(min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 1, 16)) * rng.uniform(0.8, 1.2))


def retry_after_s(header: str | None, now: datetime) -> float:
    """Seconds that a `Retry-After` (RFC 9110, 10.2.3: seconds, or a date) asks for; 0 where it makes no sense."""
    if header is None:
        return 0.0
    try:
        seconds = float(int(header))
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), MAX_ASKED_S)
