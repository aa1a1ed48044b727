"""Media time that goes on over sessions: between two of them, as much has passed as between their capture times."""

from __future__ import annotations


class Timeline:
    """Of one stream. Starts at 0 with its first frame and never goes back."""

    def __init__(self) -> None:
        self._session: int | None = None
        self._offset_ns = 0
        self._captured_at = 0
        self.now_ns = 0

    def advance(self, session: int, pts_ns: int, captured_at: int) -> int:
        """The time of a frame, ns; frames come in order."""
        if session != self._session:
            gap_ns = 0 if self._session is None else max(0, captured_at - self._captured_at)
            self._session, self._offset_ns = session, self.now_ns + gap_ns - pts_ns
        self._captured_at = captured_at
        self.now_ns = max(self.now_ns, self._offset_ns + pts_ns)
        return self.now_ns
