"""How entries of a storage become batches.

``B`` transitions of a batch, ``n`` steps of a return.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch.nn import functional as F

from sac_ext.buffers import n_step
from sac_ext.buffers.layout import UNNAMED
from sac_ext.buffers.normalize import normalize_observations, normalize_rewards
from sac_ext.buffers.ring import Entries
from sac_ext.buffers.samples import SoftReplayBufferSamples
from sac_ext.buffers.storage import Storage

# columns of what SoftAC passes to note()
ENTROPIES, MASKS, NEXT_MASKS = "entropies", "action_masks", "next_action_masks"

BYTES_AT_ONCE = 8 * 2**20  # as much as caches hold

# Batches that are gathered together start where separate ones would: at multiples of 64 bytes, so of this many entries
ALIGNMENT = 64


@dataclass(frozen=True)
class Gather:
    """
    Turns drawn entries into batches: n-step returns, normalisation, delivery to the device.

    :param storage: the transitions
    :param device: where batches are delivered
    :param n_steps: n
    :param gamma: discount factor of n-step returns
    :param soft_n_steps: also sum the entropies at the steps in between
    :param handle_timeouts: ``dones`` are 0 where an episode was truncated
    :param prioritized: batches have the indices of their transitions
    :param behavior_entropy: batches have the entropies of the policy that took the actions
    :param masked: batches have action masks
    """

    storage: Storage
    device: th.device
    n_steps: int
    gamma: float | None
    soft_n_steps: bool
    handle_timeouts: bool
    prioritized: bool
    behavior_entropy: bool
    masked: bool

    def batches(self, n: int, entries: Entries, weights: th.Tensor | None, env: VecNormalize | None) -> Iterator[Any]:
        """
        The batches one after the other, gathered several at a time, up to about ``BYTES_AT_ONCE`` bytes.

        :param n: how many batches
        :param entries: ``n * B`` entries
        :param weights: ``(n * B,)`` or None
        :param env: its statistics normalise observations and rewards; or None
        """
        batch_size = len(entries.rows) // n
        together = min(n, max(1, BYTES_AT_ONCE // (batch_size * self.storage.layout.sample_nbytes)))
        padded = batch_size if together == 1 else math.ceil(batch_size / ALIGNMENT) * ALIGNMENT

        def per_batch(values: th.Tensor) -> th.Tensor:
            return F.pad(values.view(n, batch_size), (0, padded - batch_size))

        rows, envs = per_batch(entries.rows), per_batch(entries.envs)
        all_weights = None if weights is None else per_batch(weights)
        for first in range(0, n, together):
            some = slice(first, min(first + together, n))
            batch = self.batch(
                Entries(rows[some].flatten(), envs[some].flatten(), self.storage.layout.n_envs),
                None if all_weights is None else all_weights[some].flatten(),
                env,
            )
            for start in range(0, (some.stop - some.start) * padded, padded):
                yield _part(batch, slice(start, start + batch_size))

    def batch(self, entries: Entries, weights: th.Tensor | None, env: VecNormalize | None) -> Any:
        """
        :param entries: ``B`` entries
        :param weights: ``(B,)`` or None
        :param env: its statistics normalise observations and rewards; or None
        """
        storage, last = self.storage, entries
        discounts = entropies = None
        if self.n_steps == 1:
            rewards = normalize_rewards(storage.step("rewards", entries), env)[:, None]
        else:
            last, rewards, discounts, entropies = self._n_steps(entries, env)
        dones = storage.step("dones", last)
        if self.handle_timeouts:
            dones = dones.addcmul_(dones, storage.step("timeouts", last), value=-1)  # dones * (1 - timeouts)
        observations, next_observations = storage.observations(entries, last)
        samples = {
            "observations": self._deliver_observations(observations, env),
            "actions": self._deliver(storage.step("actions", entries)),
            "next_observations": self._deliver_observations(next_observations, env),
            "dones": self._deliver(dones[:, None]),
            "rewards": self._deliver(rewards),
            "discounts": self._deliver(discounts),
        }
        if self.prioritized or self.soft_n_steps or self.behavior_entropy or self.masked:
            behavior_entropies = storage.step(ENTROPIES, entries)[:, None] if self.behavior_entropy else None
            return SoftReplayBufferSamples(
                **samples,
                weights=None if weights is None else self._deliver(weights[:, None]),
                indices=entries.flat if self.prioritized else None,
                entropies=self._deliver(entropies),
                behavior_entropies=self._deliver(behavior_entropies),
                action_masks=self._deliver(storage.step(MASKS, entries)) if self.masked else None,
                next_action_masks=self._deliver(storage.step(NEXT_MASKS, last)) if self.masked else None,
            )
        return (ReplayBufferSamples if UNNAMED in storage.layout.parts else DictReplayBufferSamples)(**samples)

    def _n_steps(
        self, entries: Entries, env: VecNormalize | None
    ) -> tuple[Entries, th.Tensor, th.Tensor, th.Tensor | None]:
        """:return: where each n-step transition ends, and its return, discount and entropies, ``(B, 1)`` each"""
        assert self.gamma is not None
        length, n_envs = self.storage.layout.length, self.storage.layout.n_envs
        rows = n_step.window(entries.rows, self.n_steps, length)  # (B, n)
        steps = Entries(rows.flatten(), entries.envs.repeat_interleave(self.n_steps), n_envs)

        def stored(name: str) -> th.Tensor:
            return self.storage.step(name, steps).view(rows.shape)

        newest = (self.storage.count - 1) % length  # the row in the next slot is older
        last = n_step.last_step((stored("dones") > 0) | (stored("timeouts") > 0) | (rows == newest))
        returns = n_step.discounted_sum(normalize_rewards(stored("rewards"), env), last, self.gamma)
        discounts = n_step.powers(self.gamma, 1, self.n_steps + 1, last.device)[last][:, None]
        entropies = None
        if self.soft_n_steps:
            entropies = n_step.discounted_sum(stored(ENTROPIES), last, self.gamma, first=1)
        return Entries((entries.rows + last) % length, entries.envs, n_envs), returns, discounts, entropies

    def _deliver(self, values: Any) -> Any:
        if values is None or self.storage.device == self.device:
            return values
        if self.storage.pin:
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)

    def _deliver_observations(self, observations: dict[str, th.Tensor], env: VecNormalize | None) -> Any:
        normalized = normalize_observations(observations.get(UNNAMED, observations), env)
        if isinstance(normalized, dict):
            return {key: self._deliver(part) for key, part in normalized.items()}
        return self._deliver(normalized)


def _part(batch: Any, where: slice) -> Any:
    """:return: the batch with this part of every tensor in it"""
    if isinstance(batch, dict):
        return {key: _part(value, where) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return type(batch)(*(_part(value, where) for value in batch))
    return None if batch is None else batch[where]
