"""Who gets in: tokens, hosts, origins."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from runtime.errors import InputError

LEAST_TOKEN = 16
"""Letters of a token."""
SUBPROTOCOL = "openai-insecure-api-key."
"""By which browsers, whose WebSockets have no headers of their own, bring a token."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused."""

    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Access:
    """The rules of one server."""

    tokens: tuple[bytes, ...] = ()
    """Any of them lets in; none are needed where there are none."""
    origins: tuple[str, ...] = ()
    """Of browsers' pages that are not the server's own, such as https://talk.example.com."""

    def refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request with these headers is refused, or None."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.tokens and not _is_loopback(host):
            # A page anywhere may have its own name lead here.
            return Refusal(403, "host_not_allowed", "expected a loopback name as the host; use localhost, or a token")
        if origin and origin not in self.origins and not _is_of(origin, host):
            return Refusal(
                403, "origin_not_allowed", "expected this server's own page, or an origin that it was told of"
            )
        if self.tokens and not self._lets_in(_token(headers)):
            return Refusal(401, "invalid_api_key", "expected a token of this server as bearer; ask who runs it")
        return None

    def _lets_in(self, token: bytes) -> bool:
        return max(hmac.compare_digest(token, known) for known in self.tokens)  # all of them, whichever it is


def read_tokens(file: Path) -> tuple[bytes, ...]:
    """Return the tokens of a file, one a line. Raises InputError for a file that is not there or empty, and tokens that do not do."""
    try:
        tokens = tuple(line.strip() for line in file.read_bytes().splitlines() if line.strip())
    except OSError as error:
        raise InputError(f"expected tokens in {file}, one a line, found: {error.strerror}; write one") from error
    if any(not re.fullmatch(rb"[\w.~+-]+", token, re.ASCII) for token in tokens):
        raise InputError(
            f"expected tokens of letters, digits and . _ ~ + - in {file}, found others; a browser can send no more"
        )
    if not tokens or min(map(len, tokens)) < LEAST_TOKEN:
        found = f"one of {min(map(len, tokens))} letters" if tokens else "none"
        raise InputError(
            f"expected tokens of {LEAST_TOKEN} letters or more in {file}, found {found}; write longer ones"
        )
    return tokens


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _is_of(origin: str, host: str) -> bool:
    """Whether a page of this origin is of this host."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _token(headers: Mapping[str, str]) -> bytes:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip().encode()
    offered = (name.strip() for name in headers.get("sec-websocket-protocol", "").split(","))
    return next((name.removeprefix(SUBPROTOCOL) for name in offered if name.startswith(SUBPROTOCOL)), "").encode()
