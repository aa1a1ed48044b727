"""The part of libsrt's C interface that receiving needs, by ctypes; numbers from srt.h of libsrt 1.5."""

from __future__ import annotations

import ctypes
import functools
import socket
import struct
import time

from ingest.addresses import SrtAddress
from ingest.errors import Reason, SourceError

# Debian and Ubuntu have one library for each TLS library; either will do.
LIBRARIES = ("libsrt-openssl.so.1.5", "libsrt.so.1.5", "libsrt-gnutls.so.1.5")
PACKAGES = "libsrt1.5-openssl (or libsrt1.5-gnutls)"
# Bytes of the largest message in live mode.
MESSAGE_BYTES = 1456

_RCVSYN, _RCVTIMEO, _PASSPHRASE, _PBKEYLEN, _CONNTIMEO, _RCVLATENCY, _STREAMID, _TRANSTYPE, _PEERIDLETIMEO = (
    2, 14, 26, 27, 36, 43, 46, 50, 55,
)  # fmt: skip
_LIVE = 0
_INVALID = -1
_ETIMEOUT, _ENOSERVER = 6003, 1001
_REJ_TIMEOUT, _REJ_BADSECRET, _REJ_UNSECURE = 16, 10, 11
# What a server says to a streamid it does not like, after HTTP's numbers.
_UNAUTHORIZED, _FORBIDDEN, _NOTFOUND = 1401, 1403, 1404


@functools.cache
def library() -> ctypes.CDLL:
    """libsrt, started.

    Raises:
        SourceError: it is not installed.
    """
    for name in LIBRARIES:
        try:
            srt = ctypes.CDLL(name)
        except OSError:
            continue
        srt.srt_getlasterror_str.restype = ctypes.c_char_p
        srt.srt_rejectreason_str.restype = ctypes.c_char_p
        srt.srt_accept_bond.argtypes = [ctypes.POINTER(ctypes.c_int), ctypes.c_int, ctypes.c_int64]
        if srt.srt_startup() < 0:
            raise SourceError(Reason.UNAVAILABLE, "libsrt does not start")
        srt.srt_setloglevel(0)  # it would write to our standard error
        return srt
    raise SourceError(Reason.UNAVAILABLE, f"SRT needs libsrt 1.5: apt-get install {PACKAGES}")


class SrtReceiver:
    """A connection that bytes come out of, as a file to read; a context manager that connects on entering.

    No thread of ours and no process: libsrt's own threads end with the last socket's close.
    """

    def __init__(self, address: SrtAddress, connect_timeout_s: float, read_timeout_s: float) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._socket = _INVALID
        self._message = ctypes.create_string_buffer(MESSAGE_BYTES)
        self._left = b""
        self.deadline: float | None = None
        """Monotonic seconds after which reading fails, however much arrives."""

    def __enter__(self) -> SrtReceiver:
        srt = library()
        try:
            if self._address.listens:
                self._accept(srt)
            else:
                self._connect(srt)
            _set(srt, self._socket, _RCVSYN, 1)
            _set(srt, self._socket, _RCVTIMEO, int(self._read_timeout_s * 1000))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Repeating it is fine."""
        if self._socket != _INVALID:
            library().srt_close(self._socket)
            self._socket = _INVALID

    def read(self, size: int) -> bytes:
        """At least one byte, at most `size`.

        Raises:
            SourceError: nothing for `read_timeout`, the deadline is over, or the sender is gone.
        """
        if not self._left:
            self._left = self._receive()
        data, self._left = self._left[:size], self._left[size:]
        return data

    def _receive(self) -> bytes:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise SourceError(Reason.TIMEOUT, "data arrives, but no video could be found in it in time")
        srt = library()
        got = srt.srt_recvmsg(self._socket, self._message, MESSAGE_BYTES)
        if got > 0:
            return self._message.raw[:got]
        if got < 0 and srt.srt_getlasterror(None) == _ETIMEOUT:
            raise SourceError(Reason.TIMEOUT, f"nothing received for {self._read_timeout_s:g} s")
        raise SourceError(Reason.LOST, f"the sender ended the connection ({_last_words(srt)})")

    # -- connecting

    def _new(self, srt: ctypes.CDLL) -> int:
        """A socket with the options that must be set before it is used."""
        new = srt.srt_create_socket()
        if new == _INVALID:
            raise SourceError(Reason.REFUSED, f"no SRT socket: {_last_words(srt)}")
        self._socket = new
        _set(srt, new, _TRANSTYPE, _LIVE)
        _set(srt, new, _RCVLATENCY, self._address.latency_ms)
        _set(srt, new, _PEERIDLETIMEO, int(self._read_timeout_s * 1000))
        if self._address.passphrase is not None:
            _set(srt, new, _PASSPHRASE, self._address.passphrase)
            if self._address.pbkeylen:
                _set(srt, new, _PBKEYLEN, self._address.pbkeylen)
        if self._address.streamid is not None:
            _set(srt, new, _STREAMID, self._address.streamid)
        return int(new)

    def _connect(self, srt: ctypes.CDLL) -> None:
        target = _sockaddr(self._address.host, self._address.port)
        link = self._new(srt)
        _set(srt, link, _CONNTIMEO, int(self._connect_timeout_s * 1000))
        if srt.srt_connect(link, target, len(target)) == _INVALID:
            raise self._refusal(srt, link)

    def _refusal(self, srt: ctypes.CDLL, link: int) -> SourceError:
        code, words = srt.srt_getlasterror(None), _last_words(srt)
        why = srt.srt_getrejectreason(link)
        where = f"{self._address.host}:{self._address.port}"
        if why in (_REJ_BADSECRET, _REJ_UNSECURE):
            mend = "wrong" if self._address.passphrase else "wanted by the sender: add ?passphrase=… to the URL"
            return SourceError(Reason.AUTH, f"{where}: the passphrase is {mend}")
        if why in (_UNAUTHORIZED, _FORBIDDEN):
            return SourceError(Reason.AUTH, f"{where}: the streamid is not accepted ({why})")
        if why == _NOTFOUND:
            return SourceError(Reason.NOT_FOUND, f"{where}: there is no stream of that streamid")
        if code == _ENOSERVER or why == _REJ_TIMEOUT:
            return SourceError(Reason.TIMEOUT, f"no SRT sender answers at {where} for {self._connect_timeout_s:g} s")
        told = srt.srt_rejectreason_str(why)
        return SourceError(Reason.REFUSED, f"{where}: {words} ({told.decode() if told else why})")

    def _accept(self, srt: ctypes.CDLL) -> None:
        """Waits for one sender, and takes no other beside it."""
        where = f"{self._address.host or '*'}:{self._address.port}"
        ours = _sockaddr(self._address.host or "0.0.0.0", self._address.port)  # noqa: S104 - as the user asked
        listener = self._new(srt)
        if srt.srt_bind(listener, ours, len(ours)) == _INVALID or srt.srt_listen(listener, 1) == _INVALID:
            raise SourceError(Reason.REFUSED, f"cannot listen on {where}/udp ({_last_words(srt)}): is it taken?")
        timeout_ms = int(self._connect_timeout_s * 1000)
        accepted = srt.srt_accept_bond(ctypes.byref(ctypes.c_int(listener)), 1, timeout_ms)
        words = _last_words(srt)
        self.close()
        if accepted == _INVALID:
            raise SourceError(
                Reason.TIMEOUT,
                f"no sender with {'the right' if self._address.passphrase else 'no'} passphrase called {where}/udp "
                f"within {self._connect_timeout_s:g} s ({words})",
            )
        self._socket = accepted


def _set(srt: ctypes.CDLL, link: int, option: int, value: int | str) -> None:
    data = struct.pack("=i", value) if isinstance(value, int) else value.encode()
    if srt.srt_setsockflag(link, option, data, len(data)) == _INVALID:
        raise SourceError(Reason.REFUSED, f"libsrt does not take option {option}: {_last_words(srt)}")


def _last_words(srt: ctypes.CDLL) -> str:
    words = srt.srt_getlasterror_str()
    return words.decode(errors="replace") if words else "no reason"


def _sockaddr(host: str, port: int) -> bytes:
    """C's sockaddr_in or sockaddr_in6."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise SourceError(Reason.UNREACHABLE, f"the host name {host} is not known ({error.strerror})") from None
    if family == socket.AF_INET6:
        address, _, flow, scope = place  # type: ignore[misc]
        packed = struct.pack("!HI16s", port, flow, socket.inet_pton(family, address))
        return struct.pack("=H", family) + packed + struct.pack("=I", scope)
    return struct.pack("=H", family) + struct.pack("!H4s8x", port, socket.inet_aton(str(place[0])))
