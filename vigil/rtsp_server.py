"""Serves H.264 or H.265 files over RTSP in an endless loop, as a camera would: for the demo and the tests.

A program of its own, run by the system's Python with GStreamer's gst-rtsp-server (Debian: gir1.2-gst-rtsp-server-1.0,
gstreamer1.0-plugins-good and -bad); it imports nothing of Vigil's.

    /usr/bin/python3 vigil/rtsp_server.py --port 8554 street=street.mp4

Several files, `street=day.mp4,night.mp4`, are played in turn, as by a camera that changes its resolution.
Prints one JSON line with the port when it is ready, and runs until killed.
"""

from __future__ import annotations

import argparse
import json
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer

CODECS = ("h264", "h265")


def coded(codec: str) -> str:
    """How pictures look between GStreamer's elements."""
    return f"video/x-{codec},stream-format=byte-stream,alignment=au"


def access_units(path: str, codec: str) -> tuple[list[bytes], float]:
    """The file's coded pictures, and its frames per second."""
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! qtdemux ! {codec}parse ! {coded(codec)} ! appsink name=out sync=false'
    )
    sink = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    units, rate = [], 25.0
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        units.append(buffer.extract_dup(0, buffer.get_size()))
        found, numerator, denominator = sample.get_caps().get_structure(0).get_fraction("framerate")
        if found and denominator:
            rate = numerator / denominator
    pipeline.set_state(Gst.State.NULL)
    if not units:
        raise SystemExit(f"no {codec} video in {path}")
    return units, rate


def push(source: Gst.Element, units: list[bytes], rate: float) -> None:
    """Feeds the pictures at their own pace until nobody takes them any more."""
    began, index = time.monotonic(), 0
    while True:
        buffer = Gst.Buffer.new_wrapped(units[index % len(units)])
        buffer.pts = buffer.dts = int(index * Gst.SECOND / rate)
        buffer.duration = int(Gst.SECOND / rate)
        if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
            return
        index += 1
        time.sleep(max(0.0, began + index / rate - time.monotonic()))


def guard(server: GstRtspServer.RTSPServer, login: str | None, digest: bool, certificate: str | None) -> None:
    """What clients must give (`user:password`), whether in clear or as a digest, and the PEM file for RTSPS."""
    auth = GstRtspServer.RTSPAuth()
    if certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(certificate))
    if login:
        user, password = login.split(":", 1)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if digest:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.set_default_token(token)
    server.set_auth(auth)


def add(
    server: GstRtspServer.RTSPServer, name: str, paths: list[str], codec: str, transport: str | None
) -> None:  # fmt: skip
    read = [access_units(path, codec) for path in paths]
    units, rate = [unit for of_one, _ in read for unit in of_one], read[0][1]
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( appsrc name=src is-live=true format=time caps={coded(codec)} ! {codec}parse ! "
        f"rtp{codec}pay name=pay0 pt=96 config-interval=-1 )"
    )
    factory.set_shared(True)
    if transport:
        factory.set_protocols({"tcp": GstRtsp.RTSPLowerTrans.TCP, "udp": GstRtsp.RTSPLowerTrans.UDP}[transport])
    if server.get_auth():
        permissions = GstRtspServer.RTSPPermissions()
        for right in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("viewer", right, True)
        factory.set_permissions(permissions)

    def configure(_factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name("src")
        threading.Thread(target=push, args=(source, units, rate), daemon=True).start()

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory(f"/{name}", factory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8554, help="0: any free one")
    parser.add_argument("--login", help="user:password that clients must give")
    parser.add_argument("--digest", action="store_true", help="take the login as a digest only, not in clear")
    parser.add_argument("--tls", metavar="PEM", help="a certificate and its key: serve RTSPS")
    parser.add_argument("--transport", choices=["tcp", "udp"], help="refuse the other one")
    parser.add_argument("--codec", choices=CODECS, default=CODECS[0], help="of the files, all of them")
    parser.add_argument("streams", nargs="+", metavar="NAME=FILE[,FILE]")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    if args.login or args.tls:
        guard(server, args.login, args.digest, args.tls)
    for item in args.streams:
        name, _, paths = item.partition("=")
        add(server, name, paths.split(","), args.codec, args.transport)
    server.attach(None)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
