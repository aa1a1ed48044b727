"""Ingest: from a camera's bytes to decoded frames with honest times, and the ring they leave through."""
