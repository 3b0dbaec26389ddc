"""The messages of the contract, in one module: requests, answers and their parts."""

from .v1.account_service_pb2 import *  # noqa: F403
from .v1.caller_service_pb2 import *  # noqa: F403
from .v1.chat_content_pb2 import *  # noqa: F403
from .v1.chat_service_pb2 import *  # noqa: F403
from .v1.chat_tools_pb2 import *  # noqa: F403
from .v1.completion_service_pb2 import *  # noqa: F403
from .v1.embedding_service_pb2 import *  # noqa: F403
from .v1.gateway_pb2 import *  # noqa: F403
from .v1.key_limits_pb2 import *  # noqa: F403
from .v1.key_usage_pb2 import *  # noqa: F403
from .v1.logprobs_pb2 import *  # noqa: F403
from .v1.model_service_pb2 import *  # noqa: F403
from .v1.text_input_pb2 import *  # noqa: F403
from .v1.usage_pb2 import *  # noqa: F403
