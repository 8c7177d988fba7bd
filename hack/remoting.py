"""Requests of RocketMQ's remoting protocol, with JSON headers, as benchmarks ask a broker."""

import json
import socket
import struct


def frame(code, fields, opaque=1, body=b""):
    """A request's bytes."""
    header = json.dumps({"code": code, "language": "JAVA", "version": 407, "opaque": opaque, "flag": 0, "serializeTypeCurrentRPC": "JSON", "extFields": fields}).encode()
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


class Connection:
    """A connection to HOST:PORT."""

    def __init__(self, address, timeout):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, frames):
        self.socket.sendall(frames)

    def receive(self):
        """The next answer's header."""
        length, header_length = struct.unpack(">II", self.stream.read(8))
        return json.loads(self.stream.read(length - 4)[:header_length & 0xFFFFFF])

    def ask(self, code, fields):
        """One request; the answer's header."""
        self.send(frame(code, fields))
        return self.receive()
