"""`python -m kfac_ref` is `kfac-ref`."""

import sys

from kfac_ref.cli import main

sys.exit(main())
