"""`python -m service`: read the settings, load the models, listen, serve until told to stop.

Exit status 0 after SIGTERM, 130 after Ctrl-C, 1 with one sentence on standard error when the service must not start.
"""

import logging
import signal
import socket
import sys

import uvicorn

from service.app import create_app
from service.errors import AddressUnavailable, StartRefused
from service.settings import Settings

_BACKLOG = 2048


def main() -> int:
    """Serve; the result is the exit status."""
    # While uvicorn runs it has handlers of its own, and raises the signal again once it has shut down in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.from_environment()
        _configure_logging(settings)
        application = create_app(settings)
        with _listen(settings.host, settings.port) as listener:
            config = uvicorn.Config(
                application, log_config=None, access_log=settings.access_log, server_header=False, lifespan="on"
            )
            uvicorn.Server(config).run(sockets=[listener])
    except StartRefused as error:
        print(f"Latent Codes does not start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _configure_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, opened before uvicorn starts, so that a taken port is one sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise AddressUnavailable(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
