"""`python -m kfac_ref` is `kfac-ref`."""

import sys

from kfac_ref.cli import main

if __name__ == "__main__":
    sys.exit(main())
