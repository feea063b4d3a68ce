"""Starts the CLI; Ctrl-C while it is still being imported ends quietly too."""

import sys

if __name__ == "__main__":
    try:
        from sandbox.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
