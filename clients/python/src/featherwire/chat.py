"""Adds up the pieces of a streamed answer."""

from .v1.chat_content_pb2 import ChatAudio, ChatMessage, ContentPart
from .v1.chat_service_pb2 import (
    ChatChoice,
    ChatChunkChoice,
    ChatDelta,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
)
from .v1.chat_tools_pb2 import CustomToolCall, FunctionCall, ToolCall

__all__ = ["ChatAccumulator"]


def with_usage(request: CreateChatCompletionRequest) -> CreateChatCompletionRequest:
    """The request, with the usage at the end of its stream unless it says otherwise."""
    if request.stream_options.HasField("include_usage"):
        return request
    changed = CreateChatCompletionRequest()
    changed.CopyFrom(request)
    changed.stream_options.include_usage = True
    return changed


def text_of(chunk: StreamChatCompletionResponse) -> str:
    """The new text of the first answer."""
    return "".join(choice.delta.content for choice in chunk.choices if choice.index == 0)


class ChatAccumulator:
    """The answer so far.

    Texts and lists are joined, and of everything else the last value counts, also of `extra`.
    """

    def __init__(self) -> None:
        self._answer = CreateChatCompletionResponse()
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: StreamChatCompletionResponse) -> None:
        """Adds the next piece."""
        if chunk.featherwire.HasField("queue"):
            return  # It tells how the call waits, and is no part of the answer.
        answer = self._answer
        answer.id = answer.id or chunk.id
        answer.created = answer.created or chunk.created
        answer.model = answer.model or chunk.model
        if chunk.HasField("usage"):
            answer.usage.MergeFrom(chunk.usage)
        if chunk.HasField("service_tier"):
            answer.service_tier = chunk.service_tier
        if chunk.HasField("system_fingerprint"):
            answer.system_fingerprint = chunk.system_fingerprint
        if chunk.HasField("moderation"):
            answer.moderation = chunk.moderation
        if chunk.HasField("featherwire"):
            answer.featherwire.CopyFrom(chunk.featherwire)
        answer.extra.update(chunk.extra)
        for choice in chunk.choices:
            self._choices.setdefault(choice.index, _Choice(choice.index)).add(choice)

    @property
    def is_complete(self) -> bool:
        """Whether the model has finished all answers that it has begun."""
        choices = self._choices.values()
        return bool(choices) and all(choice.sum.finish_reason for choice in choices)

    def answer(self) -> CreateChatCompletionResponse:
        """The answer, as a unary call returns it."""
        answer = CreateChatCompletionResponse()
        answer.CopyFrom(self._answer)
        answer.choices.extend(self._choices[index].finish() for index in sorted(self._choices))
        return answer


class _Choice:
    def __init__(self, index: int) -> None:
        self.sum = ChatChoice(index=index)
        self._calls: list[ToolCall] = []
        self._call_of_index: dict[int, ToolCall] = {}

    def add(self, piece: ChatChunkChoice) -> None:
        if piece.HasField("finish_reason") and not self.sum.finish_reason:
            self.sum.finish_reason = piece.finish_reason
        if piece.HasField("logprobs"):
            self.sum.logprobs.MergeFrom(piece.logprobs)
        self.sum.extra.update(piece.extra)
        self._add_delta(piece.delta)

    def _add_delta(self, delta: ChatDelta) -> None:
        message = self.sum.message
        message.role = message.role or delta.role
        self._add_content(delta)
        if delta.HasField("refusal"):
            message.refusal += delta.refusal
        if delta.HasField("reasoning"):
            message.reasoning += delta.reasoning
        if delta.HasField("reasoning_content"):
            message.reasoning_content += delta.reasoning_content
        message.annotations.extend(delta.annotations)
        message.extra.update(delta.extra)
        if delta.HasField("audio"):
            _add_audio(message.audio, delta.audio)
        if delta.HasField("function_call"):
            _add_function(message.function_call, delta.function_call)
        for call in delta.tool_calls:
            self._add_call(call)

    def _add_content(self, delta: ChatDelta) -> None:
        message = self.sum.message
        if delta.content_parts:
            # A message has one text or a list of parts, so earlier text becomes a part.
            if message.content:
                message.content_parts.append(ContentPart(type="text", text=message.content))
            message.ClearField("content")
            message.content_parts.extend(delta.content_parts)
        elif delta.HasField("content"):
            if message.content_parts:
                message.content_parts.append(ContentPart(type="text", text=delta.content))
            else:
                message.content += delta.content

    def _add_call(self, piece: ToolCall) -> None:
        """Adds a piece to its call: the call with its id or, without an id, with its index."""
        known: ToolCall | None
        if piece.id:
            known = next((call for call in self._calls if call.id == piece.id), None)
        elif piece.HasField("index"):
            known = self._call_of_index.get(piece.index)
        else:
            known = self._calls[-1] if self._calls else None
        if known is None:
            known = ToolCall()
            self._calls.append(known)
        if piece.HasField("index"):
            self._call_of_index[piece.index] = known
        if piece.id:
            known.id = piece.id
        if piece.type:
            known.type = piece.type
        if piece.HasField("function"):
            _add_function(known.function, piece.function)
        if piece.HasField("custom"):
            _add_custom(known.custom, piece.custom)
        known.extra.update(piece.extra)

    def finish(self) -> ChatChoice:
        choice = ChatChoice()
        choice.CopyFrom(self.sum)
        message: ChatMessage = choice.message
        message.role = message.role or "assistant"
        message.tool_calls.extend(self._calls)
        # A stream begins with an empty text, also if the model only calls tools.
        if self._calls and not message.content:
            message.ClearField("content")
        return choice


def _add_function(known: FunctionCall, piece: FunctionCall) -> None:
    # Some engines repeat the name in each piece, others send it in pieces.
    if piece.HasField("name") and piece.name != known.name:
        known.name += piece.name
    if piece.HasField("arguments"):
        known.arguments += piece.arguments
    known.extra.update(piece.extra)


def _add_custom(known: CustomToolCall, piece: CustomToolCall) -> None:
    if piece.HasField("name") and piece.name != known.name:
        known.name += piece.name
    if piece.HasField("input"):
        known.input += piece.input
    known.extra.update(piece.extra)


def _add_audio(known: ChatAudio, piece: ChatAudio) -> None:
    if piece.HasField("id"):
        known.id = piece.id
    if piece.HasField("expires_at"):
        known.expires_at = piece.expires_at
    if piece.HasField("data"):
        known.data += piece.data
    if piece.HasField("transcript"):
        known.transcript += piece.transcript
    known.extra.update(piece.extra)
