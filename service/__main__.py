"""`python -m service`: read the settings, listen, and keep workers serving until told to stop.

Exit status 0 after SIGTERM, 130 after Ctrl-C, 1 with one sentence on standard error when the service must not start.
"""

import signal
import sys

from service import logs
from service.errors import StartRefused
from service.observation.arena import Arena
from service.process.board import Board
from service.process.listeners import open_listeners
from service.process.supervisor import Supervisor
from service.process.workers import num_workers
from service.settings import Settings


def main() -> int:
    """Serve; the result is the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.from_environment()
        logs.configure(settings)
        num_slots = num_workers(settings)
        listeners = open_listeners(settings.host, settings.port, num_slots)
        board = Board.create(num_slots)
        supervisor = Supervisor(
            listeners,
            board,
            Arena.create(board.num_places),
            drain_seconds=settings.drain_seconds,
            grace_seconds=settings.grace_seconds,
        )
        return supervisor.run()
    except StartRefused as error:
        print(f"Latent Codes does not start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
