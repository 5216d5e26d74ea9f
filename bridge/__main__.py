"""``python -m bridge``: the command ``edge-bridge``."""

import sys

from bridge.cli.main import main

sys.exit(main())
