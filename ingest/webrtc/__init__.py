"""WebRTC connections that bring pictures in. Only `config` may be imported where nobody publishes: aiortc is large."""
