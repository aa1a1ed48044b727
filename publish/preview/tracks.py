"""What players are told of a picture over the data channel `tracks`."""

from __future__ import annotations

import json

from pydantic_core import from_json

from publish.preview.timeline import on_wire

LABEL = "tracks"


def tracks_message(result: bytes, rtp: int) -> str:
    """Of a `FrameResult` as JSON, what is needed to draw it, and the RTP time of the picture in which it was seen."""
    told = from_json(result)
    return json.dumps(
        {
            "rtp": on_wire(rtp),
            "pts": told["pts"],
            "session": told["session"],
            "seq": told["seq"],
            "frame": told["frame"],
            "analysed": told.get("analysed", True),
            "objects": [
                {
                    "track_id": seen["track_id"],
                    "class_name": seen["class_name"],
                    "confidence": round(seen["confidence"], 3),
                    "box": [round(side, 1) for side in seen["box"]],
                }
                for seen in told["objects"]
            ],
        },
        separators=(",", ":"),
    )
