"""Action-space families: what networks a space needs and how its policy's expectation and entropy are computed.

The only folder that names spaces. The losses need two things from a family, the expectation ``E_pi[Q]`` and the entropy
``H(pi)``; everything that differs between families is behind :class:`~sac_ext.heads.base.ActionHead`. A new family is
one subclass and one registration with :func:`~sac_ext.heads.make.make_head`.
"""

from sac_ext.heads.base import ActionHead, Defaults
from sac_ext.heads.make import HEAD_OPTIONS, has_discrete_actions, make_head

__all__ = ["HEAD_OPTIONS", "ActionHead", "Defaults", "has_discrete_actions", "make_head"]
