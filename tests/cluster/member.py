"""A member of a cluster that has no calls: it only asks the leader for units, as fast as it can. It speaks the protocol of
src/cluster/message.rs in the form of src/admission/permits/seat/wire.rs."""

import socket
import time
from collections import deque

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

U32, U64, FIXED64, TEXT, MESSAGE, BOOL = 13, 4, 6, 9, 11, 8
FIELDS = {
    "Empty": [],
    "Request": [("model", 1, TEXT), ("key", 2, FIXED64), ("weight", 3, U32), ("priority", 4, U32), ("cost", 5, U32), ("wait_ends_in_us", 9, U64)],
    "WaitingRequest": [("id", 1, U64), ("waited_us", 2, U64), ("pause_us", 3, U64), ("request", 4, "Request")],
    "Sync": [],
    "Ended": [("id", 1, U64), ("end", 2, U32)],
    "OfMember": [("member", 1, FIXED64), ("epoch", 2, U64), ("session", 3, U64), ("number", 4, U64), ("sent_at_us", 5, U64)]
    + [("sync", 10, "Sync"), ("ask", 11, "WaitingRequest"), ("end", 16, "Ended"), ("beat", 17, "Empty")],
    "Grant": [("id", 1, U64), ("cost", 2, U32)],
    "OfLeader": [("epoch", 1, U64), ("session", 2, U64), ("number", 3, U64), ("grant", 10, "Grant"), ("reject", 11, "Empty"), ("resync", 13, "Empty")],
    "Batch": [("to_leader", 1, "OfMember", True), ("to_member", 2, "OfLeader", True)],
}  # fmt: skip


def messages():
    file = descriptor_pb2.FileDescriptorProto(name="cluster.proto", package="cluster", syntax="proto2")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, *repeated in fields:
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            added.type = MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                added.type_name = f".cluster.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cluster.Batch"))


Batch = messages()


class Connection:
    """To Redis, with as much of its protocol as is needed."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))

    def receive(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind in b"+:":
            return rest
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2]
        return [self.receive() for _ in range(int(rest))]

    def query(self, *words):
        self.send(*words)
        return self.receive()


class Member:
    def __init__(self, redis, number, cost=1, model="org/model"):
        self.redis, self.number, self.cost, self.model = redis, number, cost, model
        self.connection = Connection(redis.port)
        lease = next(key for key in self.connection.query("KEYS", "featherwire:*") if key.endswith(b":lease"))
        self.prefix = lease[: -len(b"lease")]
        self.epoch = int(self.connection.query("HGET", lease, "epoch"))
        self.last, self.begun_at = "0-0", time.monotonic()
        self.next_number, self.next_id, self.next_in = 0, 0, 0
        self.granted = deque()
        batch = Batch()
        self.add(batch).sync.SetInParent()
        self.send(batch)

    def add(self, batch):
        sent_at = int((time.monotonic() - self.begun_at) * 1e6)
        message = batch.to_leader.add(member=self.number, epoch=self.epoch, session=1, number=self.next_number, sent_at_us=sent_at)
        self.next_number += 1
        return message

    def send(self, batch):
        self.connection.query("XADD", self.prefix + b"leader:%d" % self.epoch, "MAXLEN", "~", 65536, "*", "m", batch.SerializeToString())

    def step(self, asks):
        """Asks for units, and gives back all that it was granted."""
        batch = Batch()
        for _ in range(asks):
            ask = self.add(batch).ask
            ask.id = self.next_id
            ask.waited_us = ask.pause_us = 0
            request = ask.request
            request.model, request.key, request.weight, request.priority, request.cost = self.model, self.number, 1, 1, self.cost
            request.wait_ends_in_us = 600_000_000
            self.next_id += 1
        for _ in range(len(self.granted)):
            end = self.add(batch).end
            end.id, end.end = self.granted.popleft(), 1
        if not batch.to_leader:
            self.add(batch).beat.SetInParent()
        self.send(batch)

    def read(self, block_ms=100):
        """Reads what the leader says. Returns how many requests it has granted."""
        answer = self.connection.query("XREAD", "COUNT", 1000, "BLOCK", block_ms, "STREAMS", self.prefix + b"member:%d" % self.number, self.last)
        count = 0
        for _, entries in answer or []:
            for self.last, (_, text) in entries:
                for message in Batch.FromString(text).to_member:
                    if message.number != self.next_in and not message.HasField("resync"):
                        raise OSError(f"messages of the leader are lost: {self.next_in} to {message.number}")
                    self.next_in += 1
                    if message.HasField("grant"):
                        self.granted.append(message.grant.id)
                        count += 1
                    elif message.HasField("resync") or message.HasField("reject"):
                        raise OSError(f"the leader says {message}")
        return count
