"""Where log lines go, and how they look."""

import logging
import sys

from service.settings import Settings


def configure(settings: Settings) -> None:
    """Write the log of this process to standard error. Supervisor and workers share it, so every line has the pid."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    access = logging.StreamHandler(sys.stderr)
    access.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("service.access").addHandler(access)
    logging.getLogger("service.access").propagate = False
    logging.getLogger("service.access").setLevel(logging.INFO)
    # Of its own life the server says nothing that the supervisor does not say.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))
