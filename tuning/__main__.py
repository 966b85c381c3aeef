"""``python -m sac_ext.tuning`` is ``softac-tune``."""

import sys

from .cli import main

sys.exit(main())
