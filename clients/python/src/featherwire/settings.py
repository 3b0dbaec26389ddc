"""Where the gateway is, and how a connection to it is made."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import grpc

DEFAULT_ADDRESS = "http://127.0.0.1:8000"

_MIB = 1024 * 1024
_OPTIONS = [
    # A page of models, or an answer with audio.
    ("grpc.max_receive_message_length", 64 * _MIB),
    ("grpc.max_send_message_length", 64 * _MIB),
    # Finds a connection that has broken silently, also while a model is silent. The gateway sends
    # such pings too, every 20 seconds.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]


@dataclass(frozen=True)
class Settings:
    """The address, the key and the certificates. Unset ones are those of the environment."""

    target: str
    # Without it, the connection is not encrypted.
    credentials: grpc.ChannelCredentials | None = None
    # The key is not in the text of this object.
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    options: tuple[tuple[str, str | int], ...] = tuple(_OPTIONS)

    @classmethod
    def of(
        cls,
        address: str | None,
        api_key: str | None,
        ca: str | os.PathLike[str] | None,
        cert: str | os.PathLike[str] | None,
        cert_key: str | os.PathLike[str] | None,
    ) -> "Settings":
        address = address or os.environ.get("FEATHERWIRE_GATEWAY") or DEFAULT_ADDRESS
        scheme, target = _parse(address)
        api_key = api_key or os.environ.get("FEATHERWIRE_API_KEY")
        metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        if scheme == "http":
            return cls(target, metadata=metadata)
        cert_pem = _read(cert, "FEATHERWIRE_GATEWAY_CERT")
        key_pem = _read(cert_key, "FEATHERWIRE_GATEWAY_CERT_KEY")
        if (cert_pem is None) != (key_pem is None):
            raise ValueError("a certificate is shown together with its key: set both or none")
        ca_pem = _read(ca, "FEATHERWIRE_GATEWAY_CA")
        credentials = grpc.ssl_channel_credentials(ca_pem, key_pem, cert_pem)
        return cls(target, credentials, metadata)


def limit(timeout: float | None, usual: float | None) -> float | None:
    """The longest time of a call, as grpc takes it."""
    seconds = usual if timeout is None else timeout
    if seconds is None or seconds == math.inf:
        return None
    # A call whose time ends at this moment may still be answered.
    return seconds if seconds > 0 else -1


def _parse(address: str) -> tuple[str, str]:
    """The scheme of an address, and its host with the port."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    # The address is not repeated in the error, because it may contain a password.
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the gateway's address is not a URL such as {DEFAULT_ADDRESS}")
    if parts.path not in ("", "/") or parts.query or parts.username is not None:
        raise ValueError(f"the gateway's address is only scheme, host and port: {DEFAULT_ADDRESS}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _read(path: str | os.PathLike[str] | None, variable: str) -> bytes | None:
    path = path or os.environ.get(variable)
    return Path(path).read_bytes() if path else None
