"""One connection for calls one after the other, which tells when the first token arrives."""

import socket
import struct
import time

from rig.load import REST

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class Connection:
    """A connection over which one kind of call is made."""

    def __init__(self, process, call):
        self.process, self.call = process, call
        self.received_at = 0
        self.socket = socket.create_connection(("127.0.0.1", process.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(60)

    def receive(self):
        part = self.socket.recv(65536)
        self.received_at = time.perf_counter_ns()
        if not part:
            self.process.fail("has closed a connection during a call")
        return part


class Http1(Connection):
    def __init__(self, process, call):
        super().__init__(process, call)
        body = call.body()
        head = [f"POST {call.path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in call.door.all_headers().items()]
        self.request = "\r\n".join([*head, "", ""]).encode() + body

    def first_token(self):
        """Makes a streamed call. Returns the time to its first event, in ms."""
        begun = time.perf_counter_ns()
        self.socket.sendall(self.request)
        got = self.receive()
        while b"data: " not in got:
            got += self.receive()
        first = self.received_at
        while not got.endswith(b"0\r\n\r\n"):
            got += self.receive()
        if not got.startswith(b"HTTP/1.1 200"):
            self.process.fail(f"answers with {got[:200]}")
        return (first - begun) / 1e6


class Http2(Connection):
    """As much of HTTP/2 as a client needs that knows the server."""

    def __init__(self, process, call):
        super().__init__(process, call)
        self.stream = -1
        self.left = b""
        fields = {":method": "POST", ":scheme": "http", ":path": call.path}
        fields |= {":authority": "localhost"} | call.door.all_headers()
        # Each as a literal without an index: 0, then the lengths and the texts.
        texts = [[text.encode() for text in field] for field in fields.items()]
        self.head = b"".join(
            bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in texts
        )
        window = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + window)

    def first_token(self):
        """Makes a streamed call. Returns the time to its first message, in ms."""
        self.stream += 2
        head = frame(HEADERS, END_HEADERS, self.stream, self.head)
        body = frame(DATA, END_STREAM, self.stream, self.call.body())
        begun = time.perf_counter_ns()
        self.socket.sendall(head + body)
        first = None
        while True:
            kind, flags, stream, payload = self.next_frame()
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0))
            if kind == PING and not flags & ACK:
                self.socket.sendall(frame(PING, ACK, 0, payload))
            if kind in (RESET, GOAWAY):
                self.process.fail("has reset a stream or closed its connection")
            if stream == self.stream and kind == DATA and first is None:
                first = self.received_at
            if stream == self.stream and kind in (DATA, HEADERS) and flags & END_STREAM:
                break
        if first is None:
            self.process.fail("answers a streamed gRPC call without a message")
        return (first - begun) / 1e6

    def next_frame(self):
        while len(self.left) < 9 or len(self.left) < 9 + int.from_bytes(self.left[:3]):
            self.left += self.receive()
        end = 9 + int.from_bytes(self.left[:3])
        kind, flags, stream = struct.unpack(">BBI", self.left[3:9])
        payload, self.left = self.left[9:end], self.left[end:]
        return kind, flags, stream, payload


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def connect(process, call):
    return (Http1 if call.door is REST else Http2)(process, call)
