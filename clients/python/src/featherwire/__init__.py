"""The client of Featherwire, the gateway to Featherless.ai.

`Client` and `AsyncClient` call a gateway. Messages are in `featherwire.messages`.
"""

from importlib.metadata import version

from .asynchronous import AsyncChatStream, AsyncClient
from .chat import ChatAccumulator
from .errors import ErrorReason, FeatherwireError, IncompleteAnswerError
from .synchronous import ChatStream, Client

__all__ = [
    "AsyncChatStream",
    "AsyncClient",
    "ChatAccumulator",
    "ChatStream",
    "Client",
    "ErrorReason",
    "FeatherwireError",
    "IncompleteAnswerError",
    "__version__",
]

__version__ = version("featherwire")
