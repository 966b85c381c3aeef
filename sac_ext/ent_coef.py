"""The part of the SB3 class that handles the entropy coefficient: its tensors and its optimizer, under SB3's names, its
target, and what is logged of it. What the user specified is in ``temperature``."""

import math
from typing import Any

import torch as th
from stable_baselines3.common.utils import safe_mean

from sac_ext import arguments
from sac_ext.collecting import Collecting
from sac_ext.entropy import EntropyContext
from sac_ext.metrics import MetricLog
from sac_ext.temperature import Temperature

# These are resolved together
ENT_COEF_ARGUMENTS = ("ent_coef", "ent_coef_bounds", "ent_coef_learning_rate", "target_entropy", "per_component")


class EntCoef(Collecting):
    """The part of ``SoftAC`` that handles the entropy coefficient."""

    temperature: Temperature
    ent_coef: Any
    ent_coef_bounds: Any
    ent_coef_learning_rate: Any
    per_component: bool
    ent_coef_tensor: th.Tensor
    """``()`` the coefficient, only if it is fixed."""
    _log_bounds: tuple[Any, Any] | None
    """Bounds of the logarithm: numbers, or ``(K,)`` tensors if each component has its own coefficient."""
    _component_maxima: th.Tensor | None
    """``(K,)`` maximum entropy of each component in nats, if each has its own coefficient."""
    _target_entropy: th.Tensor
    """``()`` or ``(K,)`` in nats, on the device; NaN if the coefficient is fixed."""

    # ---------------------------------------------------------------- setup

    def _parse_ent_coef(self, check_target: bool = True, trained: bool = False) -> None:
        """
        Create :attr:`temperature` from the arguments, and restore the saved state of its target.

        :param check_target: whether a target that no policy can reach is refused
        :param trained: whether the coefficient already has a value, so that the initial one in ``ent_coef`` is not used
        :raises ValueError: for arguments that are not compatible
        """
        n_coefs = 1
        if arguments.boolean("per_component", self.per_component):
            self._check_per_component()
            n_coefs = self.head.policy_components
        self.temperature = Temperature(
            self.ent_coef, self.ent_coef_bounds, self.target_entropy, self.head.defaults, n_coefs, trained
        )
        self.temperature.target_was_used = self._n_updates > 0
        if self.temperature.learned:
            if check_target:
                self.temperature.check_target(self._entropy_context())
            if self._entropy_target_state:
                self.temperature.target.load_state_dict(self._entropy_target_state)

    def _check_per_component(self) -> None:
        if self.head.policy_components == 1:
            raise ValueError(
                "per_component=True learns a coefficient for each component of the policy, so it needs MultiDiscrete "
                "or MultiBinary actions of several components with policy_kwargs={'critic': 'local'} or {'critic': "
                f"'additive'}}. Here, the policy on {self.action_space} is a single distribution over whole actions"
            )
        if not Temperature.is_learned(self.ent_coef):
            raise ValueError(
                f"per_component=True needs learned coefficients, but ent_coef={self.ent_coef!r} is fixed: set "
                "ent_coef='auto', or per_component=False"
            )
        if self.replay_buffer_kwargs.get("soft_n_steps"):
            raise ValueError(
                "soft_n_steps=True stores only the sum of the components' entropies, but per_component=True weights "
                "each with its own coefficient: leave one of these arguments out"
            )

    def _create_ent_coef(self) -> None:
        """Create what SB3 has under the same names: a learned logarithm and its optimizer, or a fixed tensor."""
        self.log_ent_coef, self.ent_coef_optimizer = None, None
        self._log_bounds, self._component_maxima = None, None
        self._target_entropy = th.full((), math.nan, device=self.device)
        self.__dict__.pop("ent_coef_tensor", None)
        if not self.temperature.learned:
            self.ent_coef_tensor = th.tensor(self.temperature.initial_values[0], device=self.device)
            return
        # The logarithm is learned, as in SB3: https://github.com/rail-berkeley/softlearning/issues/37
        initial_values = th.tensor(self.temperature.initial_values, device=self.device)
        self.log_ent_coef = th.log(initial_values).requires_grad_(True)
        self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=self.lr_schedule(1))
        self._make_component_tensors()

    def _make_component_tensors(self) -> None:
        """Set the bounds, as numbers or, with ``per_component``, as tensors, together with maxima and targets."""
        bounds = self.temperature.log_bounds
        self._log_bounds = None if bounds is None else bounds[0]
        self._component_maxima = None
        if self.per_component:
            self._component_maxima = self.head.max_entropies().to(self.device)
            self._target_entropy = th.full_like(self._component_maxima, math.nan)
            if bounds is not None:
                low, high = th.tensor(bounds, device=self.device).unbind(dim=1)
                self._log_bounds = (low, high)

    # ---------------------------------------------------------------- training

    def _entropy_context(self) -> EntropyContext:
        return EntropyContext(
            num_timesteps=self.num_timesteps,
            progress_remaining=self._progress_remaining,
            n_updates=self._n_updates,
            action_dim=self.head.action_dim,
            min_entropy=self.head.min_entropy,
            max_entropy=self.head.max_entropy,
            action_sizes=self.head.mask_sizes,
            mean_return=self._mean_return(),
        )

    def _mean_return(self) -> float | None:
        """:return: mean return of the episodes that ``rollout/ep_rew_mean`` covers, None before the first one"""
        if not self.ep_info_buffer:
            return None
        return float(safe_mean([episode["r"] for episode in self.ep_info_buffer]))

    def _refresh_ent_coef(self) -> None:
        """Bring the coefficient and its target up to date with their schedules and with what users set on the model."""
        if self.temperature.learned:
            self.temperature.aim(self.target_entropy, self._entropy_context())
        elif not self.temperature.constant:
            self.ent_coef_tensor.fill_(self.temperature.fixed_value(self._progress_remaining))
        for target_entropy, nats in zip(self._target_entropy.view(-1), self.temperature.targets, strict=True):
            target_entropy.fill_(nats)

    def _record_ent_coef(self, means: dict[str, Any], log: MetricLog) -> None:
        """
        :param means: means over the gradient steps of :meth:`train`
        :param log: the values of each gradient step
        """
        suffixes = [f"_{index}" for index in range(len(self.temperature.targets))] if self.per_component else [""]
        masked = "target_entropy" in means  # each state has its own target
        of_states = [float(means[f"target_entropy{suffix}"]) for suffix in suffixes] if masked else None
        if "ent_coef_loss" in means:
            if not masked:
                self.logger.record("train/target_entropy", self.temperature.target_nats)
            ent_coefs = [log.values[f"ent_coef{suffix}"][-1] for suffix in suffixes]
            self.temperature.warn_of_held_bounds(ent_coefs, of_states or self.temperature.targets)
        if "entropy" in means:
            self.temperature.observe([float(means[f"entropy{suffix}"]) for suffix in suffixes], of_states)

    # ---------------------------------------------------------------- loading

    def _change_ent_coef(self, changes: dict[str, Any]) -> None:
        """
        Apply changed arguments. A coefficient that stays learned keeps its value, moved into the bounds.

        :param changes: those of ``ENT_COEF_ARGUMENTS`` that were given to ``load``
        :raises ValueError: for arguments that are not compatible
        """
        log_ent_coef, optimizer = self.log_ent_coef, self.ent_coef_optimizer
        for name, value in changes.items():
            setattr(self, name, value)
        if "target_entropy" in changes:
            self._entropy_target_state = {}
        if not Temperature.is_learned(self.ent_coef):
            for name in {"ent_coef_bounds", "ent_coef_learning_rate"} - changes.keys():
                setattr(self, name, None)  # those in the file were meant for the coefficient it had
        self._check_kept_lists(changes)
        self._parse_ent_coef(trained="ent_coef" not in changes)
        if "target_entropy" in changes:
            self.temperature.target_was_used = False
        self._create_ent_coef()
        if self.log_ent_coef is not None and log_ent_coef is not None:
            if log_ent_coef.shape == self.log_ent_coef.shape:
                self.log_ent_coef, self.ent_coef_optimizer = log_ent_coef, optimizer
            else:  # all start at the single value, or the single one at their geometric mean
                self.log_ent_coef.data.copy_(log_ent_coef.data.mean())
            if self._log_bounds is not None:
                self.log_ent_coef.data.clamp_(*self._log_bounds)

    def _check_kept_lists(self, changes: dict[str, Any]) -> None:
        """:raises ValueError: if the file has lists for the components, but a single coefficient is asked for"""
        if changes.get("per_component") is not False:
            return
        bounds = self.ent_coef_bounds
        lists = {
            "target_entropy": isinstance(self.target_entropy, list | tuple),
            "ent_coef_bounds": isinstance(bounds, list | tuple) and isinstance(bounds[0], list | tuple),
        }
        kept = [name for name, is_list in lists.items() if is_list and name not in changes]
        if kept:
            raise ValueError(
                f"per_component=False uses one coefficient, but the file has {' and '.join(kept)} for each component: "
                f"also pass {' and '.join(kept)} for a single coefficient"
            )
