"""The client for programs without asyncio."""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, TypeVar

import grpc

from .chat import ChatAccumulator, text_of, with_usage
from .errors import FeatherwireError, IncompleteAnswerError, closed
from .settings import Settings, limit
from .v1.account_service_pb2_grpc import AccountServiceStub
from .v1.caller_service_pb2_grpc import CallerServiceStub
from .v1.chat_service_pb2 import (
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
)
from .v1.chat_service_pb2_grpc import ChatServiceStub
from .v1.completion_service_pb2_grpc import CompletionServiceStub
from .v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from .v1.model_service_pb2 import ListModelsRequest, Model, ModelFilter
from .v1.model_service_pb2_grpc import ModelServiceStub

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Result = TypeVar("_Result")
_AnyRequest = TypeVar("_AnyRequest", contravariant=True)
_AnyResult = TypeVar("_AnyResult", covariant=True)


class Client:
    """A connection to a gateway. Use it in a `with` statement, or call `close`.

    Its address, its key and its certificates are those of FEATHERWIRE_GATEWAY,
    FEATHERWIRE_API_KEY, FEATHERWIRE_GATEWAY_CA, FEATHERWIRE_GATEWAY_CERT and
    FEATHERWIRE_GATEWAY_CERT_KEY if they are not given. An address with https:// has TLS.

    `timeout` is the longest time that a call may take, in seconds, unless the call has its own.
    `math.inf` is no limit.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | None = None,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        cert_key: str | os.PathLike[str] | None = None,
    ) -> None:
        settings = Settings.of(address, api_key, ca, cert, cert_key)
        target, options = settings.target, list(settings.options)
        #: The channel, for stubs that the client does not have. See `call`.
        self.channel: grpc.Channel = (
            grpc.secure_channel(target, settings.credentials, options)
            if settings.credentials
            else grpc.insecure_channel(target, options)
        )
        self._metadata = settings.metadata
        self._timeout = timeout
        self._is_closed = False
        self.chats = ChatServiceStub(self.channel)
        self.completions = CompletionServiceStub(self.channel)
        self.embeddings = EmbeddingServiceStub(self.channel)
        self.catalogue = ModelServiceStub(self.channel)
        self.account = AccountServiceStub(self.channel)
        self.caller = CallerServiceStub(self.channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends running calls, and closes the connection."""
        self._is_closed = True
        self.channel.close()

    def chat(
        self, request: CreateChatCompletionRequest, *, timeout: float | None = None
    ) -> CreateChatCompletionResponse:
        """A complete answer."""
        return self.call(self.chats.CreateChatCompletion, request, timeout=timeout)

    def stream_chat(
        self, request: CreateChatCompletionRequest, *, timeout: float | None = None
    ) -> "ChatStream":
        """An answer in pieces. Its usage is requested unless `stream_options` says otherwise."""
        return ChatStream(self._begin(self.chats.StreamChatCompletion, with_usage(request), timeout))

    def models(
        self, filter: ModelFilter | None = None, *, timeout: float | None = None
    ) -> Iterator[Model]:
        """All models, which are requested in pages. `timeout` is for each page."""
        request = ListModelsRequest(page_size=1000, filter=filter)
        while True:
            page = self.call(self.catalogue.ListModels, request, timeout=timeout)
            yield from page.models
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        *,
        timeout: float | None = None,
    ) -> _Response:
        """Calls any method of a stub with the client's key, such as `embeddings.CreateEmbedding`.

        Raises FeatherwireError.
        """
        try:
            return self._begin(method, request, timeout)
        except grpc.RpcError as error:
            raise FeatherwireError.of(error) from error

    def stream(
        self,
        method: "grpc.UnaryStreamMultiCallable[_Request, _Response]",
        request: _Request,
        *,
        timeout: float | None = None,
    ) -> Iterator[_Response]:
        """As `call`, for a method with a stream. Leaving the loop, or `close`, ends the call."""
        call = self._begin(method, request, timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            raise FeatherwireError.of(error) from error
        finally:
            call.cancel()

    def _begin(
        self, method: "_Method[_Request, _Result]", request: _Request, timeout: float | None
    ) -> _Result:
        try:
            seconds = limit(timeout, self._timeout)
            return method(request, timeout=seconds, metadata=self._metadata)
        except ValueError:
            # A closed channel raises this.
            if self._is_closed:
                raise closed() from None
            raise


class _Method(Protocol[_AnyRequest, _AnyResult]):
    """A method of a stub."""

    def __call__(
        self,
        request: _AnyRequest,
        /,
        timeout: float | None = None,
        metadata: tuple[tuple[str, str], ...] | None = None,
    ) -> _AnyResult: ...


class _Call(Iterator[StreamChatCompletionResponse], Protocol):
    """A running call with a stream."""

    def cancel(self) -> object: ...


class ChatStream(Iterator[str]):
    """A streamed answer: iterate over its text, or over its `chunks`.

    The stream ends without an error only if the answer is complete. The end of the `with`
    statement, `close`, and the end of this object end the call, also in the gateway and at
    Featherless.
    """

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._sum = ChatAccumulator()
        self._is_closed = False
        self._is_complete = False

    def __enter__(self) -> "ChatStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._is_closed:
            self.close()

    def __next__(self) -> str:
        """The next piece of the first answer's text."""
        for chunk in self.chunks():
            if text := text_of(chunk):
                return text
        raise StopIteration

    def chunks(self) -> Iterator[StreamChatCompletionResponse]:
        """The pieces as the gateway sends them, with everything besides the text."""
        while (chunk := self._receive()) is not None:
            yield chunk

    def read(self) -> CreateChatCompletionResponse:
        """Reads the rest, and returns the answer: its message, tool calls and usage."""
        for _ in self.chunks():
            pass
        return self.answer

    @property
    def answer(self) -> CreateChatCompletionResponse:
        """The answer, after the end of the stream. Before it, see `so_far`."""
        if not self._is_complete:
            raise IncompleteAnswerError
        return self._sum.answer()

    @property
    def so_far(self) -> CreateChatCompletionResponse:
        """What has come, complete or not."""
        return self._sum.answer()

    def close(self) -> None:
        """Ends the call. Does nothing after its end."""
        self._is_closed = True
        self._call.cancel()

    def _receive(self) -> StreamChatCompletionResponse | None:
        """The next piece, or None after the end of a complete answer."""
        if not self._is_closed:
            try:
                chunk = next(self._call, None)
            except grpc.RpcError as error:
                if self._is_closed:
                    raise IncompleteAnswerError from None
                self.close()
                raise FeatherwireError.of(error) from error
            if chunk is not None:
                self._sum.add(chunk)
                return chunk
            self._is_complete = self._sum.is_complete
            self.close()
        if not self._is_complete:
            raise IncompleteAnswerError
        return None
