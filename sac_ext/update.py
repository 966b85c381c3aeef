"""One gradient step of Soft Actor-Critic: the order of losses, optimizer steps and target network updates.

It uses no replay buffer and no logger, and transfers nothing to the host: what a step measures stays on the device.
Shapes: ``B`` batch, ``C`` critics.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from torch.distributions import Normal

from sac_ext import losses, optimizers
from sac_ext.heads import ActionHead
from sac_ext.metrics import Metrics


class Measured(NamedTuple):
    """
    :param metrics: losses, coefficient and entropy
    :param td_errors: ``(B,)`` if the batch was drawn by priorities, or None
    """

    metrics: Metrics
    td_errors: th.Tensor | None


@dataclass
class SoftUpdate:
    """
    The networks, optimizers and numbers that a step uses. The algorithm sets them again for every ``train()``, so that
    what users set on the model between two calls (``model.tau``, ``model.actor.optimizer``) takes effect.

    :param policy: actor, critics and target critics, with an ``optimizer`` on the actor and on the critics
    :param head: computes expectations and entropies for the action space
    :param log_ent_coef: ``(1,)`` logarithm of the learned coefficient, ``(K,)`` if each component has its own, or None
        if the coefficient is fixed
    :param ent_coef_optimizer: its optimizer, or None if the coefficient is fixed
    :param ent_coef_tensor: ``()`` the fixed coefficient, or None if it is learned
    :param target_entropy: ``()`` in nats, on the device, or ``(K,)`` if each component has its own coefficient; NaN if
        the coefficient is fixed
    :param log_ent_coef_bounds: ``log_ent_coef`` is clamped to these after its step; ``(K,)`` tensors if each component
        has its own coefficient; or None
    :param component_maxima: ``(K,)`` maximum entropy of each component in nats, if each has its own coefficient, or
        None
    :param gamma: discount factor, for batches without discounts of their own
    :param tau: weight of the critics in the update of the target critics
    :param entropy_in_critic: weight of the entropy bonus in the TD target, 0 to 1
    :param critic_reduction: ``"min"`` or ``"mean"``
    :param q_clip: each squared TD error is the larger of two: that of the critic's value, and that of its value clipped
        to within this distance of the target critic's; or None
    :param entropy_penalty: weight of the penalty on the difference to the entropy of the policy that took the action,
        or None
    :param max_grad_norm: the actor's and the critics' gradients are each clipped to this norm, or None
    :param use_sde: sample a new gSDE exploration matrix at every step
    :param batch_norm_stats: running statistics of the critics, copied to the target critics whenever these are updated
    :param batch_norm_stats_target: those of the target critics
    :param step_down: how an optimizer takes a step on a loss
    """

    policy: Any
    head: ActionHead
    log_ent_coef: th.Tensor | None
    ent_coef_optimizer: th.optim.Optimizer | None
    ent_coef_tensor: th.Tensor | None
    target_entropy: th.Tensor
    log_ent_coef_bounds: tuple[Any, Any] | None
    component_maxima: th.Tensor | None
    gamma: float
    tau: float
    entropy_in_critic: float
    critic_reduction: str
    q_clip: float | None
    entropy_penalty: float | None
    max_grad_norm: float | None
    use_sde: bool
    batch_norm_stats: list[th.Tensor]
    batch_norm_stats_target: list[th.Tensor]
    step_down: optimizers.Descend = optimizers.by_own_step

    def all_optimizers(self) -> list[th.optim.Optimizer]:
        """:return: all optimizers that a step may use"""
        found = [self.policy.actor.optimizer, self.policy.critic.optimizer]
        return found if self.ent_coef_optimizer is None else [*found, self.ent_coef_optimizer]

    def constants(self) -> tuple[Any, ...]:
        """:return: what a graph of this step contains besides tensors: if any of it changes, another graph is needed"""
        values = [getattr(self, field.name) for field in fields(self)]
        numbers = [value for value in values if isinstance(value, bool | int | float | str | None)]
        return id(self.policy), *map(id, self.all_optimizers()), self._bounds_key(), *numbers

    def __call__(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        """
        :param batch: transitions, as SB3's replay buffers return them, or ``SoftReplayBufferSamples``
        :param update_actor: also update the actor and the coefficient (every ``policy_delay``-th step)
        :param update_target: also update the target critics
        :return: what this step measured
        """
        if self.use_sde:
            self.policy.actor.reset_noise()
        ent_coef = self._ent_coef()  # all three losses use its value from before this step
        metrics = {"ent_coef": ent_coef.mean()} | _by_component("ent_coef", ent_coef)

        if update_actor:
            pi = self.head.pi(self.policy.actor, batch.observations, _of(batch, "action_masks"))
            metrics |= self._measure_entropy(pi)
            metrics |= self._step_ent_coef(pi, batch)

        loss, td_errors = self._critic_loss(batch, self.td_target(batch, ent_coef))
        metrics["critic_loss"] = self._descend(loss, self.policy.critic.optimizer, self.max_grad_norm)

        if update_actor:
            loss = self._actor_loss(pi, batch, ent_coef)
            metrics["actor_loss"] = self._descend(loss, self.policy.actor.optimizer, self.max_grad_norm)

        if update_target:
            _polyak_update(self.policy.critic.parameters(), self.policy.critic_target.parameters(), self.tau)
            _polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)
        if self.use_sde:
            _detach_noise(self.policy.actor.action_dist)
        return Measured(metrics, td_errors)

    # ---------------------------------------------------------------- the coefficient and its target

    def _ent_coef(self) -> th.Tensor:
        if self.log_ent_coef is not None and self.ent_coef_optimizer is not None:
            ent_coef = self.log_ent_coef.detach().exp()
            return ent_coef.squeeze(0) if self.component_maxima is None else ent_coef
        assert self.ent_coef_tensor is not None
        return self.ent_coef_tensor.to(self.policy.device).reshape(())  # users may have set another one

    def _measure_entropy(self, pi: Any) -> Metrics:
        metrics = {"entropy": pi.entropy.detach().mean()}
        if self.component_maxima is not None:
            metrics |= _by_component("entropy", pi.entropies.detach().mean(dim=0))
        return metrics

    def _step_ent_coef(self, pi: Any, batch: Any) -> Metrics:
        """Update a learned coefficient; do nothing with a fixed one."""
        if self.log_ent_coef is None or self.ent_coef_optimizer is None:
            return {}
        target_entropy, has_choice = self._target_entropies(batch)
        loss = losses.ent_coef_loss(self.log_ent_coef, self._entropy(pi), target_entropy, has_choice)
        metrics = {"ent_coef_loss": self._descend(loss, self.ent_coef_optimizer)}
        if has_choice is not None:
            target_entropy = target_entropy.mean(dim=0)  # over states
            metrics["target_entropy"] = target_entropy.sum()
        if self.component_maxima is not None:
            metrics |= _by_component("target_entropy", target_entropy)
        if self.log_ent_coef_bounds is not None:
            self.log_ent_coef.data.clamp_(*self.log_ent_coef_bounds)
        return metrics

    def _target_entropies(self, batch: Any) -> tuple[th.Tensor, th.Tensor | None]:
        """
        With action masks, each state's target is scaled to the maximum entropy that its mask leaves.

        :return: without masks ``()`` or ``(K,)`` in nats, and None; with masks ``(B,)`` or ``(B, K)`` in nats, and
            whether the masks leave a choice
        """
        action_masks = _of(batch, "action_masks")
        if action_masks is None:
            return self.target_entropy, None
        reachable = self.head.masked_max_entropies(action_masks)
        if self.component_maxima is None:
            share = reachable.sum(dim=1) / self.head.max_entropy
        else:
            share = reachable / self.component_maxima.where(self.component_maxima > 0, 1.0)  # 0 for a single value
        return self.target_entropy * share, share > 0

    def _entropy(self, pi: Any) -> th.Tensor:
        """:return: ``(B,)``, or ``(B, K)`` if each component has its own coefficient"""
        entropy: th.Tensor = pi.entropy if self.component_maxima is None else pi.entropies
        return entropy

    def _bounds_key(self) -> Any:
        bounds = self.log_ent_coef_bounds
        return bounds if bounds is None else tuple(id(b) if isinstance(b, th.Tensor) else b for b in bounds)

    # ---------------------------------------------------------------- losses

    @th.no_grad()
    def td_target(self, batch: Any, ent_coef: th.Tensor) -> th.Tensor:
        """
        TD targets of the critics, which take the value of the next observation under the current policy, never that of
        a replayed action.

        :param batch: as for a step
        :param ent_coef: ``()``, or ``(K,)`` if each component has its own coefficient
        :return: ``(B,)``
        """
        bonus = ent_coef * self.entropy_in_critic
        pi = self.head.pi(self.policy.actor, batch.next_observations, _of(batch, "next_action_masks"))
        reduce = losses.REDUCTIONS[self.critic_reduction]
        q = self.head.next_q(pi, self.policy.critic_target, batch.next_observations, reduce)
        next_value = losses.soft_value(q, self._entropy(pi), bonus)
        rewards, entropies = batch.rewards.flatten(), _of(batch, "entropies")
        if entropies is not None:  # of the steps in between, in soft n-step returns
            rewards = losses.soft_value(rewards, entropies.flatten(), bonus)
        discounts = self.gamma if batch.discounts is None else batch.discounts.flatten()
        return losses.td_target(rewards, batch.dones.flatten(), discounts, next_value)

    def _critic_loss(self, batch: Any, target: th.Tensor) -> tuple[th.Tensor, th.Tensor | None]:
        """:return: ``()`` the loss, and ``(B,)`` TD errors if the batch has weights"""
        q_taken = self.head.q_taken(self.policy.critic, batch.observations, batch.actions)
        q_clipped = None
        if self.q_clip is not None:
            with th.no_grad():
                target_q_taken = self.head.q_taken(self.policy.critic_target, batch.observations, batch.actions)
            q_clipped = losses.clip_to_target_critic(q_taken, target_q_taken, self.q_clip)
        weights = _of(batch, "weights")
        if weights is None:
            return losses.critic_loss(q_taken, target, q_clipped=q_clipped), None
        loss = losses.critic_loss(q_taken, target, weights.flatten(), q_clipped)
        return loss, losses.td_errors(q_taken, target)

    def _actor_loss(self, pi: Any, batch: Any, ent_coef: th.Tensor) -> th.Tensor:
        reduce = losses.REDUCTIONS[self.critic_reduction]
        q = self.head.expected_q(pi, self.policy.critic, batch.observations, reduce)
        loss = losses.actor_loss(q, self._entropy(pi), ent_coef)
        if self.entropy_penalty is not None:
            behavior_entropy = batch.behavior_entropies.flatten()
            loss = loss + self.entropy_penalty * losses.entropy_penalty(pi.entropy, behavior_entropy)
        return loss

    def _descend(self, loss: th.Tensor, optimizer: th.optim.Optimizer, max_grad_norm: float | None = None) -> th.Tensor:
        self.step_down(loss, optimizer, max_grad_norm)
        return loss.detach()


def _by_component(name: str, values: th.Tensor) -> Metrics:
    """:return: each of ``(K,)`` values under its own name; empty for ``()``"""
    return {f"{name}_{index}": value for index, value in enumerate(values.unbind())} if values.ndim else {}


def _of(batch: Any, name: str) -> Any:
    """:return: this field of the batch, or None: SB3's samples have fewer fields than ours"""
    return getattr(batch, name, None)


def _detach_noise(noise: StateDependentNoiseDistribution) -> None:
    """Detach gSDE's exploration matrices, which stay with the policy after the step: a graph cannot return tensors with
    gradients that it has used."""
    noise.exploration_mat = noise.exploration_mat.detach()
    noise.exploration_matrices = noise.exploration_matrices.detach()
    noise.weights_dist = Normal(noise.weights_dist.loc, noise.weights_dist.scale.detach())


@th.no_grad()
def _polyak_update(params: Iterable[th.Tensor], target_params: Iterable[th.Tensor], tau: float) -> None:
    """SB3's ``polyak_update`` bit for bit, in two calls for all parameters."""
    sources, targets = list(params), list(target_params)
    if sources:
        th._foreach_mul_(targets, 1 - tau)
        th._foreach_add_(targets, sources, alpha=tau)
