"""`python -m serving.web`: a bundle served by WebSocket, in the transcription part of OpenAI's Realtime protocol."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import logging
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from runtime.arguments import Arguments, add_recognizer, recognizer_choices
from runtime.bundle import read_bundle
from runtime.cuda import Device
from runtime.errors import InputError, exit_code
from runtime.live import loaded_spared
from runtime.recognizer import Recognizer, choose_decoder
from serving.web.access import Access, is_loopback, read_tokens
from serving.web.app import Server, configuration
from serving.web.connection import Limits
from serving.web.session import texts

MOST_PORT = 65_535


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the server."""
    parser = Arguments(prog="python -m serving.web", description="Serve a bundle by WebSocket.")
    add_recognizer(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine alone)"
    )
    parser.add_argument("--port", type=int, default=8300, help="port to listen at (default: 8300)")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="tokens that let in, one a line; needed where others reach the address",
    )
    parser.add_argument(
        "--origin", action="append", default=[], help="a page's origin that may connect beside the server's own"
    )
    for name, kind, what in (
        ("streams", int, "sessions at a time"),
        ("idle_s", float, "seconds without a message after which a session ends"),
        ("session_s", float, "seconds after which a session ends"),
    ):
        default = getattr(Limits, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{what} (default: {default:g})"
        )
    parser.add_argument(
        "--log-text", action="store_true", help="write finals to the log; neither audio nor text is without it"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Serve until a stop."""
    limits = Limits(args.streams, idle_s=args.idle_s, session_s=args.session_s)
    access = Access(read_tokens(args.token_file) if args.token_file else (), tuple(args.origin))
    if not access.tokens and not is_loopback(args.host):
        raise InputError(
            f"expected --token-file with the address {args.host}, which others reach, found none; write one of 16 letters or more"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.log_text:
        texts.setLevel(logging.INFO)
    most = limits.streams + 1 if _runs_together(args) else None
    with (
        bound(args.host, args.port) as sockets,
        Recognizer(args.bundle, max_streams=most, **recognizer_choices(args)) as recognizer,
    ):
        server = Server(
            recognizer, access, limits, Device().used_memory if recognizer.backend.name == "tensorrt" else None
        )
        with loaded_spared():
            for each in sockets:
                each.listen()  # whoever calls once it is said waits for uvicorn, instead of being refused
            host = f"[{args.host}]" if ":" in args.host else args.host
            port = sockets[0].getsockname()[1]
            print(f"serving: {recognizer.bundle.checkpoint.name} at http://{host}:{port}", flush=True)
            uvicorn.Server(configuration(server.app, args.host, port, limits)).run(sockets)


@contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Yield sockets that have the addresses of this name and nobody else's calls, and do not listen yet.

    Raises InputError where that cannot be: uvicorn would find it out once the bundle is open, and end the process with another code.
    """
    if not 0 <= port <= MOST_PORT:  # the system takes others modulo 65,536
        raise InputError(f"expected a port from 0 to {MOST_PORT}, found {port}; 0 is any that is free")
    sockets = list[socket.socket]()
    try:
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                sockets.append(socket.socket(family, kind, protocol))
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sockets[-1].bind(address)
        except (OSError, UnicodeError) as error:
            found = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"expected an address to listen at, found {host} and port {port}: {found}; choose others with --host and --port"
            ) from error
        yield sockets
    finally:
        for each in sockets:
            each.close()


def _runs_together(args: argparse.Namespace) -> bool:
    """Whether the bundle has the step over many streams for what is asked."""
    bundle = read_bundle(args.bundle)
    decoder = choose_decoder(bundle, args.decoder, args.lm, best=True)
    return decoder == "ctc" and bundle.batched is not None and args.precision in (None, *bundle.batched)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
