"""What a replay buffer gives to a gradient step beyond SB3's samples."""

from typing import Any, NamedTuple

import torch as th


class SoftReplayBufferSamples(NamedTuple):
    """
    SB3's ``ReplayBufferSamples`` with what prioritised replay, soft n-step returns, action masks and the entropy
    penalty need. ``B`` transitions, ``S`` values of all components of an action together.

    :param observations: ``(B, *shape)``, or a dict of them
    :param actions: ``(B, action_dim)``
    :param next_observations: as ``observations``
    :param dones: ``(B, 1)`` 1.0 where the episode terminated
    :param rewards: ``(B, 1)``, n-step returns if ``n_steps`` > 1
    :param discounts: ``(B, 1)`` factors for the value of the next observation, or None for gamma
    :param weights: ``(B, 1)`` weights of the transitions' losses, or None
    :param indices: ``(B,)`` for ``update_priorities``, or None
    :param entropies: ``(B, 1)`` in nats, discounted and summed over the steps between observation and next
        observation, or None
    :param behavior_entropies: ``(B, 1)`` in nats, of the policy that took the actions, or None
    :param action_masks: ``(B, S)`` which values were allowed at the observations, or None
    :param next_action_masks: ``(B, S)`` which values are allowed at the next observations, or None
    """

    observations: Any
    actions: th.Tensor
    next_observations: Any
    dones: th.Tensor
    rewards: th.Tensor
    discounts: th.Tensor | None = None
    weights: th.Tensor | None = None
    indices: th.Tensor | None = None
    entropies: th.Tensor | None = None
    behavior_entropies: th.Tensor | None = None
    action_masks: th.Tensor | None = None
    next_action_masks: th.Tensor | None = None
