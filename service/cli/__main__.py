"""`python -m service.cli`, where the script `latent-codes` is not installed."""

import sys

from service.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
