"""Free loopback ports for servers that the supervisor may have to restart on the same port."""

import random
import socket
from pathlib import Path

from exchange_platform.stack.errors import StackError

LOOPBACK = "127.0.0.1"
LOWEST = 20_000


def free_port() -> int:
    """A port below the kernel's range for outgoing connections: while a server restarts, no client can be given its port."""
    try:
        below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        below = 32_768
    if below <= LOWEST + 1_000:
        below = 65_535
    chooser = random.SystemRandom()
    for _ in range(200):
        port = chooser.randrange(LOWEST, below)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise StackError(f"No free port was found on {LOOPBACK} between {LOWEST} and {below}.")


def listen(port: int, *, variable: str) -> socket.socket:
    """A listening socket that the supervisor keeps, so that nobody is refused while the process behind it is replaced.

    Raises StackError when the port is taken; `variable` is the environment variable that chooses it."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((LOOPBACK, port))
    except OSError as problem:
        server.close()
        raise StackError(
            f"Port {port} on {LOOPBACK} cannot be used ({problem.strerror}): another program, maybe another stack, has it. "
            f"Start with {variable}=0 for any free port, or name another one, for example {variable}={port + 10 if port < 65000 else 9000}."
        ) from None
    server.listen(4096)
    return server
