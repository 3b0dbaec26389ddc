"""The client for asyncio. It differs from `synchronous` only in what is awaited."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TypeVar

import grpc
import grpc.aio

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


class AsyncClient:
    """As `Client`, for asyncio. Use it in an `async with` statement, or call `close`."""

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
        self.channel: grpc.aio.Channel = (
            grpc.aio.secure_channel(target, settings.credentials, options)
            if settings.credentials
            else grpc.aio.insecure_channel(target, options)
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

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends running calls, and closes the connection."""
        self._is_closed = True
        await self.channel.close()

    async def chat(
        self, request: CreateChatCompletionRequest, *, timeout: float | None = None
    ) -> CreateChatCompletionResponse:
        """A complete answer."""
        return await self.call(self.chats.CreateChatCompletion, request, timeout=timeout)

    def stream_chat(
        self, request: CreateChatCompletionRequest, *, timeout: float | None = None
    ) -> "AsyncChatStream":
        """An answer in pieces. Its usage is requested unless `stream_options` says otherwise."""
        self._check_is_open()
        seconds = limit(timeout, self._timeout)
        call = self.chats.StreamChatCompletion(
            with_usage(request), timeout=seconds, metadata=self._metadata
        )
        return AsyncChatStream(self, call)

    async def models(
        self, filter: ModelFilter | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Model]:
        """All models, which are requested in pages. `timeout` is for each page."""
        request = ListModelsRequest(page_size=1000, filter=filter)
        while True:
            page = await self.call(self.catalogue.ListModels, request, timeout=timeout)
            for model in page.models:
                yield model
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        *,
        timeout: float | None = None,
    ) -> _Response:
        """Calls any method of a stub with the client's key, such as `embeddings.CreateEmbedding`.

        Raises FeatherwireError.
        """
        self._check_is_open()
        seconds = limit(timeout, self._timeout)
        try:
            return await method(request, timeout=seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise FeatherwireError.of(error) from error
        except asyncio.CancelledError:
            self._check_is_cancelled()
            raise

    async def stream(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Response]",
        request: _Request,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[_Response]:
        """As `call`, for a method with a stream. `aclose` of the iterator ends the call."""
        self._check_is_open()
        seconds = limit(timeout, self._timeout)
        call = method(request, timeout=seconds, metadata=self._metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise FeatherwireError.of(error) from error
        except asyncio.CancelledError:
            self._check_is_cancelled()
            raise
        finally:
            call.cancel()

    def _check_is_open(self) -> None:
        if self._is_closed:
            raise closed()

    def _check_is_cancelled(self) -> None:
        """Raises the right error if not the task was cancelled, but its call, by `close`."""
        if self._is_closed and not _is_task_cancelled():
            raise closed() from None


class AsyncChatStream(AsyncIterator[str]):
    """As `ChatStream`, for asyncio."""

    def __init__(
        self,
        client: AsyncClient,
        call: "grpc.aio.UnaryStreamCall[CreateChatCompletionRequest, StreamChatCompletionResponse]",
    ) -> None:
        self._client = client
        self._call = call
        self._sum = ChatAccumulator()
        self._is_closed = False
        self._is_complete = False

    async def __aenter__(self) -> "AsyncChatStream":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._is_closed:
            self.close()

    async def __anext__(self) -> str:
        """The next piece of the first answer's text."""
        while (chunk := await self._receive()) is not None:
            if text := text_of(chunk):
                return text
        raise StopAsyncIteration

    async def chunks(self) -> AsyncIterator[StreamChatCompletionResponse]:
        """The pieces as the gateway sends them, with everything besides the text."""
        while (chunk := await self._receive()) is not None:
            yield chunk

    async def read(self) -> CreateChatCompletionResponse:
        """Reads the rest, and returns the answer: its message, tool calls and usage."""
        while await self._receive() is not None:
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

    async def _receive(self) -> StreamChatCompletionResponse | None:
        """The next piece, or None after the end of a complete answer."""
        if not self._is_closed:
            try:
                chunk = await self._call.read()
            except grpc.aio.AioRpcError as error:
                if self._is_closed:
                    raise IncompleteAnswerError from None
                self.close()
                raise FeatherwireError.of(error) from error
            except asyncio.CancelledError:
                if self._is_closed and not _is_task_cancelled():
                    raise IncompleteAnswerError from None
                self.close()
                self._client._check_is_cancelled()
                raise
            if isinstance(chunk, StreamChatCompletionResponse):
                self._sum.add(chunk)
                return chunk
            self._is_complete = self._sum.is_complete
            self.close()
        if not self._is_complete:
            raise IncompleteAnswerError
        return None


def _is_task_cancelled() -> bool:
    """Whether the running task is cancelled: grpc raises CancelledError also if only a call is.

    With Python 3.10 this is not known, and what was closed counts.
    """
    task = asyncio.current_task()
    return sys.version_info >= (3, 11) and task is not None and task.cancelling() > 0
