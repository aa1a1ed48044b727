"""A WHIP publisher that is not ours: aiortc sends a video file, over and over, until its input ends or it is killed.

Started as `python whip_publisher.py URL FILE [TOKEN]`. Prints one JSON line with the HTTP answer, then, when told by
the end of its standard input to stop, DELETEs its session and prints that answer.
"""

from __future__ import annotations

import asyncio
import json
import sys

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer


async def main(url: str, file: str, token: str = "") -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTransceiver(MediaPlayer(file, loop=True).video, direction="sendonly")
    connection.addTransceiver("audio", direction="sendonly")  # as OBS and browsers do
    await connection.setLocalDescription(await connection.createOffer())
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        while True:
            answer = await client.post(
                url, content=connection.localDescription.sdp, headers={"Content-Type": "application/sdp"}
            )
            if answer.status_code != 503:
                break
            await asyncio.sleep(float(answer.headers["retry-after"]))  # the service is starting
        told = {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.text}
        print(json.dumps(told), flush=True)
        if answer.status_code != 201:
            return
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        await asyncio.to_thread(sys.stdin.read)
        ended = await client.delete(httpx.URL(url).join(answer.headers["location"]))
        print(json.dumps({"status": ended.status_code}), flush=True)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
