"""`python -m edgec` is the command line of `edgec.cli`."""

import sys

from edgec.cli import main

if __name__ == "__main__":
    sys.exit(main())
