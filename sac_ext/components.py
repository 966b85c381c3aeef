"""Actions made of categorical components, and how a policy numbers them.

Shapes: ``B`` batch, ``K`` components of ``A_k`` values each, ``A`` the largest ``A_k``, ``S = sum A_k``. A *flat*
position counts the values of all components one after the other, as action masks do; a *padded* tensor ``(..., K, A)``
has one row per component, whose entries beyond ``A_k`` have no meaning.
"""

import math
from collections.abc import Sequence

import torch as th
from torch import nn
from torch.nn import functional as F

IMPOSSIBLE = th.finfo(th.float32).min  # a logit; minus infinity would give NaN where it is multiplied by 0


class Components(nn.Module):
    """
    Sizes of components, with the tables to convert between flat and padded. A module with buffers but no parameters,
    so that the tables move between devices with the network that contains it.

    :param sizes: ``A_k``
    """

    component: th.Tensor
    """``(S,)`` the component to which a flat position belongs."""
    first: th.Tensor
    """``(K,)`` flat position of each component's first value."""
    positions: th.Tensor
    """``(K, A)`` flat positions; beyond ``A_k``, the component's last one."""
    exists: th.Tensor
    """``(K, A)`` whether there is a value."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.n_components, self.largest, self.n_values = len(self.sizes), max(self.sizes), sum(self.sizes)
        self.ragged = len(set(self.sizes)) > 1
        lengths = th.tensor(self.sizes)
        first = lengths.cumsum(0) - lengths
        places = th.arange(self.largest).expand(self.n_components, -1)
        self._table("component", th.arange(self.n_components).repeat_interleave(lengths))
        self._table("first", first)
        self._table("positions", first[:, None] + places.minimum(lengths[:, None] - 1))
        self._table("exists", places < lengths[:, None])

    def _table(self, name: str, table: th.Tensor) -> None:
        self.register_buffer(name, table, persistent=False)

    @property
    def max_entropy(self) -> float:
        """Entropy of independent uniform components, in nats."""
        return sum(map(math.log, self.sizes))

    def padded(self, flat: th.Tensor) -> th.Tensor:
        """
        :param flat: ``(..., S)``
        :return: ``(..., K, A)``; beyond ``A_k``, a component's last value is repeated
        """
        if self.ragged:
            return flat[..., self.positions]
        return flat.view(*flat.shape[:-1], self.n_components, self.largest)

    def log_probs(self, logits: th.Tensor, action_masks: th.Tensor | None = None) -> th.Tensor:
        """
        :param logits: ``(B, S)``
        :param action_masks: ``(B, S)`` whether a value is allowed, or None for all
        :return: ``(B, K, A)``, close to the lowest float where a value is not allowed or does not exist
        """
        logits = self.padded(logits)
        if self.ragged:
            logits = logits.masked_fill(~self.exists, IMPOSSIBLE)
        if action_masks is not None:
            logits = logits.masked_fill(~self.padded(action_masks), IMPOSSIBLE)
        return F.log_softmax(logits, dim=-1)

    def flat_positions(self, index: th.Tensor) -> th.Tensor:
        """
        :param index: ``(B, K)`` a value of each component, from 0
        :return: ``(B, K)``
        """
        return self.first + index

    def one_hot(self, index: th.Tensor) -> th.Tensor:
        """
        :param index: ``(B, K)`` a value of each component, from 0
        :return: ``(B, S)`` 1 at these values
        """
        zeros = th.zeros(len(index), self.n_values, device=index.device)
        return zeros.scatter(1, self.flat_positions(index), 1.0)


def draw(log_probs: th.Tensor) -> th.Tensor:
    """
    :param log_probs: ``(..., A)``
    :return: ``(...)`` a value sampled from them, by the Gumbel-max trick
    """
    return (log_probs - th.empty_like(log_probs).exponential_().log()).argmax(dim=-1)


class ActionCode(nn.Module):
    """
    How the actions of an environment are numbered for a policy: here component by component, as they are.

    :param sizes: number of values of each component of the environment's actions
    :param starts: what the environment calls each component's first value
    :param shape: of an action of the environment, ``(K,)``, or ``()`` where it is one number
    """

    components: Components
    """Those of the policy."""
    starts: th.Tensor

    def __init__(self, sizes: Sequence[int], starts: Sequence[int], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.environment_components = Components(sizes)
        self.components = self.environment_components
        self.register_buffer("starts", th.tensor(tuple(starts)), persistent=False)

    def encode(self, actions: th.Tensor) -> th.Tensor:
        """
        :param actions: ``(B, K)`` as a replay buffer keeps them
        :return: ``(B, K of the policy)`` values, from 0
        """
        return actions.long() - self.starts

    def decode(self, index: th.Tensor) -> th.Tensor:
        """
        :param index: ``(B, K of the policy)`` values, from 0
        :return: ``(B, *shape)`` int64, as the environment counts them
        """
        return (index + self.starts).reshape(-1, *self.shape)

    def policy_masks(self, action_masks: th.Tensor) -> th.Tensor:
        """
        :param action_masks: ``(B, S)`` of the environment's components
        :return: ``(B, S of the policy)``
        """
        return action_masks


class JointCode(ActionCode):
    """
    All combinations of the components' values, numbered one after the other: one component with ``N = prod A_k``
    values.

    :param sizes: number of values of each component of the environment's actions
    :param starts: what the environment calls each component's first value
    :param shape: of an action of the environment, ``(K,)``, or ``()`` where it is one number
    """

    combinations: th.Tensor
    """``(N, K)`` the components' values in each combination, from 0."""
    strides: th.Tensor
    """``(K,)`` by how much the number of a combination grows when a component's value grows by 1."""

    def __init__(self, sizes: Sequence[int], starts: Sequence[int], shape: tuple[int, ...]) -> None:
        super().__init__(sizes, starts, shape)
        strides = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
        self.components = Components([math.prod(sizes)])
        combinations = th.cartesian_prod(*map(th.arange, sizes)).reshape(-1, len(sizes))
        self.register_buffer("combinations", combinations, persistent=False)
        self.register_buffer("strides", th.tensor(strides), persistent=False)

    def encode(self, actions: th.Tensor) -> th.Tensor:
        return (super().encode(actions) * self.strides).sum(dim=1, keepdim=True)

    def decode(self, index: th.Tensor) -> th.Tensor:
        return super().decode(self.combinations[index.squeeze(1)])

    def policy_masks(self, action_masks: th.Tensor) -> th.Tensor:
        first, *others = th.split(action_masks, list(self.environment_components.sizes), dim=1)
        for part in others:
            first = (first[:, :, None] & part[:, None, :]).flatten(1)
        return first
