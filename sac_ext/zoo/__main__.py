"""``python -m sac_ext.zoo`` is ``softac-zoo``."""

from sac_ext.zoo.cli import main

main()
