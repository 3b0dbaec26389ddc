"""The requests that are measured, through both doors, and what a right answer to them is."""

import json
import struct

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
# About 900 bytes.
PROMPT = "The quick brown fox jumps over the lazy dog.\n" * 20
CHAT_PATH = "/v1/chat/completions"
WHOLE_METHOD = "/featherwire.v1.ChatService/CreateChatCompletion"
STREAM_METHOD = "/featherwire.v1.ChatService/StreamChatCompletion"
# A token of the paced upstream.
STREAMED_TEXT = b" feather"


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def protobuf(number, value):
    """A field of a protobuf message: a text, a message or an integer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def rest_request(is_stream, tokens, prompt=PROMPT):
    message = {"role": "user", "content": prompt}
    request = {"model": MODEL, "messages": [message], "max_tokens": tokens, "stream": is_stream}
    return json.dumps(request).encode()


def grpc_request(tokens, prompt=PROMPT):
    message = protobuf(1, "user") + protobuf(13, prompt)
    request = protobuf(1, MODEL) + protobuf(2, message) + protobuf(13, tokens)
    return struct.pack(">BI", 0, len(request)) + request


def sse_events(body):
    """The events of a stream; None if the stream has not ended as it must."""
    return body.split(b"\n\n") if body.endswith(b"data: [DONE]\n\n") else None


def grpc_messages(body):
    """The messages of a gRPC body; None if it is cut off."""
    messages = []
    while body:
        if len(body) < 5:
            return None
        length = int.from_bytes(body[1:5])
        messages.append(body[5 : 5 + length])
        if len(messages[-1]) < length:
            return None
        body = body[5 + length :]
    return messages
