"""SoftAC in rl-baselines3-zoo: ``softac-zoo train --env CartPole-v1``, then ``softac-zoo enjoy --env CartPole-v1``.

The zoo has fixed tables of algorithms, so this registers SoftAC there and then runs the zoo's own commands. Needs
``pip install "sac-ext[zoo]"``. Nothing here is imported by ``import sac_ext``: importing the zoo patches gymnasium.
"""

from sac_ext.zoo.cli import main
from sac_ext.zoo.registration import PlayedSoftAC, register

__all__ = ["PlayedSoftAC", "main", "register"]
