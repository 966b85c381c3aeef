"""The SB3 algorithm class: arguments, wiring, logging, loading. Formulas are in ``losses``, their order in ``update``,
action spaces in ``heads``."""

import inspect
import io
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import (
    FloatSchedule,
    update_learning_rate,
)
from stable_baselines3.sac.policies import SACPolicy

from sac_ext import arguments, finite
from sac_ext.buffers import DeviceReplayBuffer
from sac_ext.ent_coef import ENT_COEF_ARGUMENTS, EntCoef
from sac_ext.entropy import EntropyTarget
from sac_ext.execution import execution_mode
from sac_ext.heads import HEAD_OPTIONS, make_head
from sac_ext.losses import REDUCTIONS
from sac_ext.metrics import MetricLog
from sac_ext.observations import check_observation_space
from sac_ext.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, head_of
from sac_ext.torch_settings import PRECISIONS, flushed_denormals, matmul_precision, unvalidated_distributions
from sac_ext.update import SoftUpdate

SelfSoftAC = TypeVar("SelfSoftAC", bound="SoftAC")


class SoftAC(EntCoef):
    """
    Soft Actor-Critic: a drop-in for ``stable_baselines3.SAC`` that also supports Discrete, MultiDiscrete and
    MultiBinary actions, with action masks where the environment has ``action_masks()`` (sb3-contrib's convention).

    On Box action spaces, on the CPU and with the keyword-only arguments at their defaults, training gives the numbers
    of SB3's ``SAC`` bit for bit. Papers: https://arxiv.org/abs/1812.05905 (SAC with a learned coefficient),
    https://arxiv.org/abs/1910.07207 (discrete actions).

    Entropies are in nats; on Box they are those of the action scaled to [-1, 1]. Arguments are checked and resolved
    when the model is set up, so ``SoftAC.load(path, actor_learning_rate=1e-4)`` works as in the constructor; the
    attributes of keyword-only arguments keep what was passed.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, MultiInputPolicy, or a class)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate for the actor, the critics and the entropy coefficient: a number,
        ``"lin_3e-4"`` (linearly from 3e-4 to 0) or a function of the progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer
    :param learning_starts: how many steps of the model to collect transitions for before learning starts
    :param batch_size: Minibatch size for each gradient update
    :param tau: the soft update coefficient ("Polyak update", between 0 and 1)
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps, or a tuple like ``(5, "step")``, ``(2, "episode")``
    :param gradient_steps: How many gradient steps to do after each rollout (see ``train_freq``);
        ``-1`` for as many as steps done in the environment during the rollout
    :param action_noise: the action noise type (None by default); for Box action spaces only
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``, or SB3's
        ``ReplayBuffer``). If ``None``, :class:`~sac_ext.DeviceReplayBuffer`.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: Store each observation once, instead of a second time as the next observation.
    :param n_steps: When n_steps > 1, use n-step returns to update the critics (only where ``replay_buffer_class`` is
        ``None`` or ``DeviceReplayBuffer``)
    :param ent_coef: Entropy coefficient (alpha): learned with ``"auto"`` or ``"auto_0.1"`` (starting at 0.1); fixed or
        scheduled with a number, ``"lin_0.2"`` or a function of the progress remaining. ``"auto"`` starts at 1 on Box,
        0.1 on discrete actions.
    :param target_update_interval: update the target networks every ``target_update_interval`` gradient steps. As in
        SB3, steps are counted from the start of each ``train()``, so with ``gradient_steps=1`` the target networks are
        updated at every step.
    :param target_entropy: the entropy in nats that a learned coefficient steers the policy to: ``"auto"`` (minus the
        number of action dimensions on Box; on discrete actions ``"linear:0.5->0.1@0.5"``, from half the maximum entropy
        to a tenth over the first half of training), a number, a string such as ``"fraction:0.5"``, a dict such as
        ``{"kind": "per_dim", "scale": 0.5}``, an :class:`~sac_ext.EntropyTarget`, a function of the progress remaining,
        or, with ``per_component``, a list of these. With action masks, each state's target is scaled to the maximum
        entropy that its mask leaves. With a fixed coefficient it has no effect, as in SB3
    :param use_sde: Whether to use generalized State Dependent Exploration (gSDE); for Box action spaces only
    :param sde_sample_freq: Sample a new noise matrix every n steps when using gSDE
        Default: -1 (only sample at the beginning of the rollout)
    :param use_sde_at_warmup: Whether to use gSDE instead of uniform sampling
        during the warm up phase (before learning starts)
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see :class:`SoftACPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param actor_learning_rate: like ``learning_rate``, for the actor alone; None means ``learning_rate``
    :param critic_learning_rate: like ``learning_rate``, for the critics alone; None means ``learning_rate``
    :param ent_coef_learning_rate: like ``learning_rate``, for a learned coefficient alone; None means ``learning_rate``
    :param ent_coef_bounds: ``(low, high)`` for a learned coefficient, ``(0, inf)`` for no bounds; a warning says when
        it is held at a bound. ``ent_coef="auto"`` then starts inside the bounds. None for the default: no bounds on
        Box, (1e-4, 10) on discrete actions. With ``per_component`` also a list of pairs, one for each component
    :param per_component: learn a coefficient for each component of MultiDiscrete and MultiBinary actions; needs local
        or additive critics, whose policies are products over components. A single ``target_entropy`` is divided in
        proportion to the components' maximum entropies (``epsilon`` gives each component its own); a list has a target
        for each
    :param policy_delay: update the actor and the entropy coefficient only every ``policy_delay``-th gradient step
        (Fujimoto et al. 2018, arXiv:1802.09477)
    :param entropy_in_critic: weight, from 0 to 1, of the entropy bonus in the TD target; None for the default: 1 on
        Box, 0 on discrete actions
    :param critic_reduction: ``"min"`` or ``"mean"`` over the critics; None for the default: min on Box, mean on
        discrete actions
    :param q_clip: ``c`` of Q-clip (Zhou et al. 2022, arXiv:2209.10081): each squared TD error is the larger of
        ``(Q - y)^2`` and ``(Q' + clip(Q - Q', -c, c) - y)^2``, with ``Q'`` from the target critic; None for the plain
        squared error
    :param entropy_penalty: weight of a term in the actor's loss: half the squared difference between the policy's
        entropy and that of the policy that took the action (Zhou et al. 2022); None for no such term. Discrete actions
        only; needs a ``DeviceReplayBuffer``
    :param max_grad_norm: the actor's and the critics' gradients are each clipped to this norm; None for no limit
    :param exploration_eps: probability of a uniformly random action (among those that a mask allows) in training, as
        in DQN: a number, ``"lin_0.1"`` or a function of the progress remaining; discrete actions only. A soft policy
        explores among actions of similar values; this also tries actions whose values are low
    :param execution: how gradient steps run: ``"eager"`` operation by operation, ``"compile"`` as one compiled graph,
        ``"cuda_graph"`` as a graph captured on CUDA, or ``"auto"`` for the fastest mode known to match eager on the
        device, which is eager in this version. All modes give the same parameters up to rounding; what cannot run in a
        mode runs eagerly, with a warning that says why
    :param precision: of float32 matrix products in gradient steps: ``"highest"``, ``"high"`` or ``"medium"``, as in
        ``torch.set_float32_matmul_precision``; None for torch's current setting
    :raises ValueError: for an argument out of its range, or a target entropy that no policy can reach
    :raises TypeError: for an argument of the wrong type, or an unsupported observation or action space
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: SACPolicy
    actor: Any
    critic: Any
    critic_target: Any

    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: GymEnv | str,
        learning_rate: float | str | Schedule = 3e-4,
        buffer_size: int = 1_000_000,  # 1e6
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        ent_coef: str | float | Schedule = "auto",
        target_update_interval: int = 1,
        target_entropy: str | float | dict[str, Any] | list[Any] | EntropyTarget | Callable[[float], float] = "auto",
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        use_sde_at_warmup: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        actor_learning_rate: float | str | Schedule | None = None,
        critic_learning_rate: float | str | Schedule | None = None,
        ent_coef_learning_rate: float | str | Schedule | None = None,
        ent_coef_bounds: tuple[float, float] | list[tuple[float, float]] | None = None,
        per_component: bool = False,
        policy_delay: int = 1,
        entropy_in_critic: float | None = None,
        critic_reduction: str | None = None,
        q_clip: float | None = None,
        entropy_penalty: float | None = None,
        max_grad_norm: float | None = None,
        exploration_eps: float | str | Schedule = 0.0,
        execution: str = "auto",
        precision: str | None = None,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,  # type: ignore[arg-type]  # parsed in _setup_lr_schedule
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            action_noise,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            use_sde_at_warmup=use_sde_at_warmup,
            support_multi_env=True,
        )
        self.target_entropy = target_entropy
        self._entropy_target_state: dict[str, Any] = {}  # from the file that the model was loaded from
        self.log_ent_coef: th.Tensor | None = None
        self.ent_coef = ent_coef
        self.target_update_interval = target_update_interval
        self.ent_coef_optimizer: th.optim.Optimizer | None = None
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.ent_coef_learning_rate = ent_coef_learning_rate
        self.ent_coef_bounds = ent_coef_bounds
        self.per_component = per_component
        self.policy_delay = policy_delay
        self.entropy_in_critic = entropy_in_critic
        self.critic_reduction = critic_reduction
        self.q_clip = q_clip
        self.entropy_penalty = entropy_penalty
        self.max_grad_norm = max_grad_norm
        self.exploration_eps = exploration_eps
        self._loaded = not _init_setup_model
        self.execution = execution
        self.precision = precision

        if _init_setup_model:
            self._setup_model()

    # ---------------------------------------------------------------- setup

    def _setup_model(self) -> None:
        check_observation_space(self.observation_space)
        options = {name: self.policy_kwargs[name] for name in HEAD_OPTIONS if name in self.policy_kwargs}
        self.head = make_head(self.action_space, **options)
        self._restore_target_entropy()
        self._check_arguments()
        self._parse_ent_coef(check_target=not self._loaded, trained=self._loaded)  # it may be loaded only to play
        self._setup_lr_schedule()
        self._prepare_replay_buffer()
        kept = self.n_steps
        if isinstance(self.replay_buffer, DeviceReplayBuffer):
            self.n_steps = 1  # SB3 would warn that it is ignored
        try:
            super()._setup_model()
        finally:
            self.n_steps = kept
        self.head = head_of(self.policy, default=self.head)
        self._create_aliases()
        self.batch_norm_stats = _running_statistics(self.critic)
        self.batch_norm_stats_target = _running_statistics(self.critic_target)
        self._create_ent_coef()
        self._apply_learning_rates()
        self._update = SoftUpdate(**self._update_state())
        self._set_execution()

    def _set_execution(self) -> None:
        self._run_step = execution_mode(self.execution)(self._update)
        self._execution_in_use = self.execution

    def _check_arguments(self) -> None:
        """Refuse invalid arguments before anything is allocated and, since users may set them on the model, at the
        start of each run."""
        if self.action_noise is not None and not self.head.continuous:
            raise ValueError(
                f"action_noise is added to continuous actions, but the action space is {self.action_space}: "
                "leave it out and explore through the policy's entropy (target_entropy, ent_coef)"
            )
        self.tau = arguments.number_between("tau", self.tau, low=0, high=1)
        self.gamma = arguments.number_between("gamma", self.gamma, low=0, high=1)
        arguments.integer_from("buffer_size", self.buffer_size, low=1)
        arguments.integer_from("n_steps", self.n_steps, low=1)
        learning_starts = arguments.number_between("learning_starts", self.learning_starts, low=0)
        if isinstance(self.learning_starts, str):  # YAML reads 1e3 as a string
            self.learning_starts = int(learning_starts)
        arguments.integer_from("batch_size", self.batch_size, low=1)
        arguments.integer_from("gradient_steps", self.gradient_steps, low=-1)
        arguments.integer_from("target_update_interval", self.target_update_interval, low=1)
        arguments.integer_from("policy_delay", self.policy_delay, low=1)
        if self.entropy_in_critic is not None:
            arguments.number_between("entropy_in_critic", self.entropy_in_critic, low=0, high=1)
        if self.critic_reduction is not None:
            arguments.choice("critic_reduction", self.critic_reduction, tuple(REDUCTIONS))
        for name in ("q_clip", "entropy_penalty", "max_grad_norm"):
            if getattr(self, name) is not None:
                arguments.positive_number(name, getattr(self, name))
        if self.replay_buffer_kwargs.get("soft_n_steps") and self._entropy_in_critic() == 0:
            raise ValueError(
                "soft_n_steps=True adds entropies to the returns, weighted by entropy_in_critic, which is 0 (the "
                "default on discrete actions): set entropy_in_critic=1.0, or leave soft_n_steps out"
            )
        if self.entropy_penalty is not None and not self.head.exact_entropy:
            raise ValueError(
                f"entropy_penalty={self.entropy_penalty!r} needs the policy's exact entropy, which is not known for "
                f"the action space {self.action_space}: leave it out"
            )
        self._exploration_schedule = arguments.parse_schedule("exploration_eps", self.exploration_eps)
        arguments.number_between("exploration_eps", self._exploration_schedule(1.0), low=0, high=1)
        if self.exploration_eps != 0 and self.head.continuous:
            raise ValueError(
                f"exploration_eps={self.exploration_eps!r} draws random discrete actions, but the action space is "
                f"{self.action_space}: leave it out, or use action_noise"
            )
        execution_mode(self.execution)
        if self.precision is not None:
            arguments.choice("precision", self.precision, PRECISIONS)

    def _create_aliases(self) -> None:
        self.actor = self.policy.actor
        self.critic = self.policy.critic
        self.critic_target = self.policy.critic_target

    def _setup_lr_schedule(self) -> None:
        self.lr_schedule = arguments.parse_schedule("learning_rate", self.learning_rate)
        arguments.evaluate_schedule("learning_rate", self.lr_schedule, 1.0)
        if self.ent_coef_learning_rate is not None and not self.temperature.learned:
            raise ValueError(
                f"ent_coef_learning_rate={self.ent_coef_learning_rate!r} needs a learned coefficient, but "
                f"ent_coef={self.ent_coef!r} is fixed: set ent_coef='auto', or ent_coef_learning_rate=None"
            )
        separate = {
            "actor_learning_rate": self.actor_learning_rate,
            "critic_learning_rate": self.critic_learning_rate,
            "ent_coef_learning_rate": self.ent_coef_learning_rate,
        }
        self._separate_lr_schedules: dict[str, FloatSchedule] = {
            name: arguments.parse_schedule(name, value) for name, value in separate.items() if value is not None
        }

    def _apply_learning_rates(self) -> None:
        for name, optimizer in self._optimizers().items():
            update_learning_rate(optimizer, self._learning_rate(name))

    def _optimizers(self) -> dict[str, th.optim.Optimizer]:
        """:return: each optimizer by the name of its learning rate"""
        optimizers = {
            "actor_learning_rate": self.actor.optimizer,
            "critic_learning_rate": self.critic.optimizer,
        }
        if self.ent_coef_optimizer is not None:
            optimizers["ent_coef_learning_rate"] = self.ent_coef_optimizer
        return optimizers

    # ---------------------------------------------------------------- training

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """
        Sample the replay buffer and take gradient steps on the critics, the actor and the entropy coefficient. Losses
        are fetched from the device together at the end, and in very long calls also in between.

        :param gradient_steps: number of steps
        :param batch_size: transitions per step
        :raises ValueError: if a batch contains NaN or an infinite reward (checked on the CPU only), if the replay
            buffer does not keep what the entropy penalty or action masks need, or if a schedule or target given as a
            function leaves its range; no step is taken with such values
        :raises TypeError: if such a function does not return a number
        """
        self._check_notes_are_kept()
        self.policy.set_training_mode(True)
        self._update_learning_rate(list(self._optimizers().values()))
        self._refresh_update()
        log = MetricLog()
        # Flushing denormal numbers changes bits, so it is off where steps equal SAC's bit for bit
        flush = not (self.head.matches_sac and self._run_step.same_bits)
        with unvalidated_distributions(), matmul_precision(self.precision), flushed_denormals(flush):
            for gradient_step, batch in enumerate(self._batches(gradient_steps, batch_size)):
                if self.device.type == "cpu":
                    finite.check_batch(batch)
                self._n_updates += 1
                update_actor = self._n_updates % self.policy_delay == 0
                update_target = gradient_step % self.target_update_interval == 0  # counted within this call, as in SB3
                measured = self._run_step(batch, update_actor, update_target)
                log.add(measured.metrics)
                if measured.td_errors is not None:
                    assert isinstance(self.replay_buffer, DeviceReplayBuffer)
                    self.replay_buffer.update_priorities(batch.indices, measured.td_errors)
        self._record(log)

    def _update_learning_rate(self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer) -> None:
        """Set the learning rate of each optimizer."""
        self.logger.record("train/learning_rate", self._learning_rate("learning_rate"))
        names = {id(optimizer): name for name, optimizer in self._optimizers().items()}
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            name = names.get(id(optimizer), "learning_rate")
            update_learning_rate(optimizer, self._learning_rate(name))
            if name in self._separate_lr_schedules:
                self.logger.record(f"train/{name}", self._learning_rate(name))

    def _learning_rate(self, name: str) -> float:
        schedule = self._separate_lr_schedules.get(name, self.lr_schedule)
        return arguments.evaluate_schedule(name, schedule, self._progress_remaining)

    def _refresh_update(self) -> None:
        """Bring the gradient step up to date with the schedules and with what users set on the model."""
        self._refresh_ent_coef()
        for name, value in self._update_state().items():
            setattr(self._update, name, value)
        self._run_step.refresh()

    def _entropy_in_critic(self) -> float:
        default = self.head.defaults.entropy_in_critic
        return default if self.entropy_in_critic is None else float(self.entropy_in_critic)

    def _update_state(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "head": self.head,
            "log_ent_coef": self.log_ent_coef,
            "ent_coef_optimizer": self.ent_coef_optimizer,
            "ent_coef_tensor": None if self.temperature.learned else self.ent_coef_tensor.to(self.device),
            "target_entropy": self._target_entropy,
            "log_ent_coef_bounds": self._log_bounds,
            "component_maxima": self._component_maxima,
            "gamma": self.gamma,
            "tau": self.tau,
            "entropy_in_critic": self._entropy_in_critic(),
            "critic_reduction": self.critic_reduction or self.head.defaults.critic_reduction,
            "q_clip": None if self.q_clip is None else float(self.q_clip),
            "entropy_penalty": None if self.entropy_penalty is None else float(self.entropy_penalty),
            "max_grad_norm": None if self.max_grad_norm is None else float(self.max_grad_norm),
            "use_sde": self.use_sde,
            "batch_norm_stats": self.batch_norm_stats,
            "batch_norm_stats_target": self.batch_norm_stats_target,
        }

    def _record(self, log: MetricLog) -> None:
        means = log.means()
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, mean in means.items():
            self.logger.record(f"train/{name}", mean)
        self._record_ent_coef(means, log)

    def learn(
        self: SelfSoftAC,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "SoftAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfSoftAC:
        """
        SB3's ``learn``.

        :param total_timesteps: number of steps in the environment
        :param callback: called at every step
        :param log_interval: number of episodes between two logs
        :param tb_log_name: name of the run in TensorBoard
        :param reset_num_timesteps: whether the step count, and with it the progress of schedules, starts over
        :param progress_bar: whether to show one
        :return: the model
        :raises ValueError: for invalid arguments set on the model, or NaN from the environment
        """
        self._check_arguments()
        if self.per_component != self.temperature.per_component:
            raise ValueError(
                f"per_component was set to {self.per_component} on a model with one coefficient "
                f"{'for each component' if self.temperature.per_component else 'for the whole action'}: pass it to "
                "SoftAC.load() instead"
            )
        if self.execution != self._execution_in_use:
            self._set_execution()
        self.temperature.start_run(self.target_entropy, self._entropy_context(), counts_anew=reset_num_timesteps)
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    # ---------------------------------------------------------------- loading

    @classmethod
    def load(
        cls: type[SelfSoftAC],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfSoftAC:
        """
        Load a model saved by ``SoftAC.save``, or by ``stable_baselines3.SAC.save``.

        :param path: path to the file (or a file-like)
        :param env: the new environment to run the loaded model on (None for prediction only)
        :param device: Device on which the code should run
        :param custom_objects: objects to use instead of those in the file, by attribute name. A ``target_entropy``
            among them takes over the state saved in the file; one given as an argument starts afresh
        :param print_system_info: Whether to print system info from the saved model and the current system
        :param force_reset: Force call to ``reset()`` before training
        :param kwargs: constructor arguments to change. ``ent_coef`` may turn a learned coefficient into a fixed one
            and back; a coefficient that stays learned keeps its value, moved into ``ent_coef_bounds`` if these changed.
        :return: new model instance with loaded parameters
        :raises ValueError: if the changed arguments are not compatible
        :raises TypeError: for a name that is neither an argument nor, as in SB3, an attribute of a model
        """
        attributes = vars(cls("MlpPolicy", None, _init_setup_model=False))  # type: ignore[arg-type]
        arguments.check_names(kwargs, {*inspect.signature(cls.__init__).parameters, *attributes})
        changes = {name: kwargs.pop(name) for name in ENT_COEF_ARGUMENTS if name in kwargs}
        model = super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)
        if changes:
            model._change_ent_coef(changes)
            model._setup_lr_schedule()
            model._apply_learning_rates()
        return model


def _running_statistics(network: th.nn.Module) -> list[th.Tensor]:
    """:return: running statistics of its batch normalisation layers: the buffers themselves, not copies"""
    return [buffer for name, buffer in network.named_buffers(remove_duplicate=False) if "running_" in name]
