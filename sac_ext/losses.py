"""The formulas of Soft Actor-Critic, as pure functions of tensors.

Shapes: ``B`` batch, ``C`` critics. Entropies are in nats. An action space enters only through ``q``, the expectation
over the policy of the reduced critics, and ``entropy``, the entropy of the policy; both are exact on discrete actions
and one-sample estimates on Box (``entropy = -log_prob``), for which these formulas are those of SB3's ``SAC``.

Sources: Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905), "SAC" below;
Christodoulou 2019, "Soft Actor-Critic for Discrete Action Settings" (arXiv:1910.07207).
"""

from collections.abc import Callable

import torch as th
from torch.nn import functional as F

REDUCTIONS: dict[str, Callable[[th.Tensor], th.Tensor]] = {
    "min": lambda q_values: q_values.min(dim=0).values,
    "mean": lambda q_values: q_values.mean(dim=0),
}
"""
One estimate from several critics, ``(C, ...)`` to ``(...)``, before any expectation over actions is taken: ``"min"``
is clipped double Q-learning (Fujimoto et al. 2018, arXiv:1802.09477).
"""


def soft_value(q: th.Tensor, entropy: th.Tensor, ent_coef: th.Tensor) -> th.Tensor:
    """
    ``V(s) = E_pi[Q(s, a)] + alpha * H(pi(.|s))`` (SAC, eq. 3), or ``+ sum_k alpha_k H_k`` if each of ``K`` components
    of the action has its own coefficient.

    :param q: ``(B,)`` expected action value under the policy
    :param entropy: ``(B,)`` in nats, or ``(B, K)``
    :param ent_coef: ``()`` alpha, or ``(K,)``
    :return: ``(B,)``
    """
    bonus = ent_coef * entropy if ent_coef.ndim == 0 else (ent_coef * entropy).sum(dim=1)
    _require_same_shape(q=q, entropy=bonus)
    return q + bonus


def td_target(rewards: th.Tensor, dones: th.Tensor, discounts: th.Tensor | float, next_value: th.Tensor) -> th.Tensor:
    """
    ``y = r + discount * (1 - done) * V(s')`` (SAC, eq. 2), ``done`` meaning terminated, not truncated.

    :param rewards: ``(B,)``
    :param dones: ``(B,)`` 1.0 where the episode terminated
    :param discounts: ``(B,)`` or one number; ``gamma ** n`` for n-step returns
    :param next_value: ``(B,)`` soft value of the next observation
    :return: ``(B,)``
    """
    _require_same_shape(rewards=rewards, dones=dones, next_value=next_value)
    return rewards + (1 - dones) * discounts * next_value


def critic_loss(
    q_taken: th.Tensor, target: th.Tensor, weights: th.Tensor | None = None, q_clipped: th.Tensor | None = None
) -> th.Tensor:
    """
    Half the squared TD error, averaged over the batch and summed over the critics (SAC, eq. 5).

    :param q_taken: ``(C, B)`` value of the action in the batch, per critic
    :param target: ``(B,)``; no gradient flows into it
    :param weights: ``(B,)`` importance weights of prioritised replay (Schaul et al. 2016, arXiv:1511.05952), or None
    :param q_clipped: ``(C, B)`` from :func:`clip_to_target_critic`, or None; with it, each squared error is the larger
        of those of the two values
    :return: ``()``
    """
    _require_same_shape(q_taken=q_taken[0], target=target, weights=target if weights is None else weights)
    target = target.detach()
    if weights is None and q_clipped is None:
        losses = [F.mse_loss(q, target) for q in q_taken]
    else:
        squares = (q_taken - target).square()
        if q_clipped is not None:
            squares = squares.maximum((q_clipped - target).square())
        losses = [square.mean() if weights is None else (weights * square).mean() for square in squares]
    return 0.5 * sum(losses[1:], losses[0])  # in SB3's order: a tensor's sum() may round differently


def clip_to_target_critic(q_taken: th.Tensor, target_q_taken: th.Tensor, q_clip: float) -> th.Tensor:
    """
    ``Q' + clip(Q - Q', -c, c)`` (Q-clip, Zhou et al. 2022, arXiv:2209.10081): no gradient where ``Q`` is further than
    ``c`` from the target critic's value.

    :param q_taken: ``(C, B)`` value of the action in the batch, per critic
    :param target_q_taken: ``(C, B)`` the same from the target critics
    :param q_clip: ``c``
    :return: ``(C, B)``
    """
    target_q_taken = target_q_taken.detach()
    return target_q_taken + (q_taken - target_q_taken).clamp(-q_clip, q_clip)


def td_errors(q_taken: th.Tensor, target: th.Tensor) -> th.Tensor:
    """
    Absolute TD error, averaged over the critics: the priority of a transition.

    :param q_taken: ``(C, B)`` value of the action in the batch, per critic
    :param target: ``(B,)``
    :return: ``(B,)`` without gradient
    """
    _require_same_shape(q_taken=q_taken[0], target=target)
    return (q_taken - target).detach().abs().mean(dim=0)


def actor_loss(q: th.Tensor, entropy: th.Tensor, ent_coef: th.Tensor) -> th.Tensor:
    """
    ``-E_s[V(s)]`` (SAC, eq. 7 and 9; Christodoulou 2019, eq. 12).

    :param q: ``(B,)`` expected action value under the policy
    :param entropy: ``(B,)`` in nats, or ``(B, K)``
    :param ent_coef: ``()`` alpha, or ``(K,)``; no gradient flows into it
    :return: ``()``
    """
    return -soft_value(q, entropy, ent_coef.detach()).mean()


def entropy_penalty(entropy: th.Tensor, behavior_entropy: th.Tensor) -> th.Tensor:
    """
    ``1/2 E_s[(H_behavior - H)^2]``, which keeps the policy's entropy near that of the policy that took the actions
    (Zhou et al. 2022, arXiv:2209.10081).

    :param entropy: ``(B,)`` in nats
    :param behavior_entropy: ``(B,)`` the policy's entropy in nats when the actions in the batch were taken
    :return: ``()``
    """
    _require_same_shape(entropy=entropy, behavior_entropy=behavior_entropy)
    return 0.5 * F.mse_loss(entropy, behavior_entropy)


def ent_coef_loss(
    log_ent_coef: th.Tensor,
    entropy: th.Tensor,
    target_entropy: th.Tensor | float,
    has_choice: th.Tensor | None = None,
) -> th.Tensor:
    """
    ``E_s[log alpha * (H(pi(.|s)) - target)]``: alpha grows while the entropy is below its target.

    This is SAC, eq. 18, with ``log alpha`` in place of ``alpha``, as in SB3 and softlearning.

    :param log_ent_coef: ``(1,)``, or ``(K,)`` if each component has its own coefficient; the losses are summed
    :param entropy: ``(B,)`` in nats, or ``(B, K)``; no gradient flows into it
    :param target_entropy: ``()`` in nats, or ``(K,)``; ``(B,)`` or ``(B, K)`` where it differs between states
    :param has_choice: of the shape of ``entropy``, whether a state leaves a choice, or None if all do; states without a
        choice are left out of the mean
    :return: ``()``
    """
    losses = log_ent_coef * (entropy - target_entropy).detach()
    if has_choice is None:
        return losses.mean(dim=0).sum()
    return ((losses * has_choice).sum(dim=0) / has_choice.sum(dim=0).clamp(min=1)).sum()


def _require_same_shape(**tensors: th.Tensor) -> None:
    """Broadcasting ``(B,)`` against ``(B, 1)`` silently gives ``(B, B)``: refuse it instead."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"expected tensors of one shape (B,), got {shapes}")
