"""SB3's replay buffer on any device: its arguments, adding, drawing, files.

``B`` transitions of a batch, ``E`` environments, ``L`` rows (one step of all environments each).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize

from sac_ext import arguments
from sac_ext.buffers import draws, files, memory
from sac_ext.buffers.frames import AXES
from sac_ext.buffers.gather import ENTROPIES, MASKS, NEXT_MASKS, Gather
from sac_ext.buffers.layout import NUMBER, UNNAMED, Layout
from sac_ext.buffers.priorities import Priorities, parse_beta
from sac_ext.buffers.ring import Column, Entries, Live
from sac_ext.buffers.storage import Storage
from sac_ext.observations import check_observation_space

EMPTY = "the replay buffer is empty: add transitions before sampling, see learning_starts"

# Attributes that are not saved as they are
MADE_AGAIN = {"_storage", "_gather", "_priorities", "_notes"}

# Arguments that are missing from buffers pickled by earlier versions
NOT_IN_OLD_PICKLES: dict[str, Any] = {"behavior_entropy": False, "action_mask_size": 0}

SAVED_ARGUMENTS = (
    "optimize_memory_usage",
    "handle_timeout_termination",
    "n_steps",
    "gamma",
    "soft_n_steps",
    "frame_stack",
    "frame_stack_axis",
    "prioritized",
    "alpha",
    "beta",
    "behavior_entropy",
    "action_mask_size",
)


class DeviceReplayBuffer(ReplayBuffer):
    """
    SB3's ``ReplayBuffer``, ``DictReplayBuffer`` and ``NStepReplayBuffer`` in one, with storage on any device, for any
    SB3 off-policy algorithm.

    On the CPU, draws and samples are those of SB3's buffers bit for bit. On other devices, transitions are collected on
    the host and copied together before the next draw; draws come from the device's own generator, which is seeded with
    the model's seed. Memory is allocated at the first ``add``; :attr:`nbytes` says in advance how much.

    ``observations``, ``next_observations``, ``actions``, ``rewards``, ``dones`` and ``timeouts`` are the storage, as in
    SB3: numpy arrays on the CPU, otherwise tensors, ``(buffer_size, n_envs, ...)`` (for Dict observations dicts of
    them). Where frames are stored once (``frame_stack``, ``optimize_memory_usage``), there are no ``observations``.

    :param buffer_size: how many transitions to keep
    :param observation_space: Observation space; what SB3 supports
    :param action_space: Action space; what SB3 supports
    :param device: where samples are delivered
    :param n_envs: Number of parallel environments
    :param optimize_memory_usage: store each observation once, instead of a second time as the next observation, where
        that saves memory. Unlike SB3's, it works with ``handle_timeout_termination``, Dict observations and n-step
        returns, and it keeps the last observation of every episode, instead of giving the first one of the next.
    :param handle_timeout_termination: ``dones`` are 0 where the episode was truncated by a time limit
    :param n_steps: sum the rewards of this many steps; samples then have ``discounts``. As in SB3's
        ``NStepReplayBuffer``, but also for Dict observations
    :param gamma: discount factor of n-step returns, needed if ``n_steps`` > 1
    :param soft_n_steps: also sum the policy's entropies at the steps in between, as in the soft value. They must be
        passed to :meth:`note` as they are collected, which SoftAC does.
    :param frame_stack: observations are stacks of this many frames (``VecFrameStack``, gymnasium's
        ``FrameStackObservation``), and each frame is stored once. For Dict observations, a dict of the keys that are
        stacked: ``{"image": 4}``
    :param frame_stack_axis: axis along which frames are stacked: ``"first"``, ``"last"``, or ``"auto"``, which is the
        channel axis where SB3 sees an image, otherwise the first if its length is ``frame_stack``, else the last
    :param prioritized: prioritised experience replay (Schaul et al. 2016, arXiv:1511.05952). The TD errors must be
        passed to :meth:`update_priorities`, which SoftAC does
    :param alpha: exponent of the priorities, 0 to 1
    :param beta: exponent of the importance weights that correct for them, 0 to 1: a number, or ``(start, end)`` over
        training
    :param storage_device: where transitions are stored: ``"auto"`` (the training device if they fit there, otherwise
        the host), ``"cpu"``, ``"cuda"``, ``"cuda:1"``
    :param memory_limit: the most memory they may take there: a number of bytes, or ``"8GB"``; None for what is free
    :param behavior_entropy: keep the entropies of the policy that took the actions. They must be passed to :meth:`note`
        as they are collected, which SoftAC does if it has an ``entropy_penalty``
    :param action_mask_size: keep action masks of this size, of each observation and the next one; 0 for none. They must
        be passed to :meth:`note` as they are collected, which SoftAC does if the environment has ``action_masks()``
    :raises ValueError: for an argument out of its range, or if the buffer does not fit. On the host, which allocates
        memory as it is written to, a buffer within ``memory_limit`` that is larger than what is free gives a warning
    :raises TypeError: for an argument of the wrong type, or a space that SB3 does not support or whose dtype torch
        lacks
    """

    _device: th.device

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        n_steps: int = 1,
        gamma: float | None = None,
        soft_n_steps: bool = False,
        frame_stack: int | Mapping[str, int] = 1,
        frame_stack_axis: str = "auto",
        prioritized: bool = False,
        alpha: float = 0.6,
        beta: float | tuple[float, float] = (0.4, 1.0),
        storage_device: str | th.device = "auto",
        memory_limit: int | str | None = None,
        behavior_entropy: bool = False,
        action_mask_size: int = 0,
    ) -> None:
        self._storage: Storage | None = None  # before the base class sets the device, which moves the storage
        check_observation_space(observation_space)
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.n_envs = arguments.integer_from("n_envs", n_envs, low=1)
        self.buffer_size = max(arguments.integer_from("buffer_size", buffer_size, low=1) // self.n_envs, 1)
        self.optimize_memory_usage = arguments.boolean("optimize_memory_usage", optimize_memory_usage)
        self.handle_timeout_termination = arguments.boolean("handle_timeout_termination", handle_timeout_termination)
        self.n_steps = arguments.integer_from("n_steps", n_steps, low=1)
        if n_steps > 1 and gamma is None:
            raise ValueError(f"n_steps={n_steps} needs gamma, the discount factor of the rewards that are summed")
        self.gamma = None if gamma is None else arguments.number_between("gamma", gamma, low=0, high=1)
        self.soft_n_steps = arguments.boolean("soft_n_steps", soft_n_steps)
        if soft_n_steps and n_steps == 1:
            raise ValueError(
                "soft_n_steps=True needs n_steps > 1: a one-step return has no intermediate entropies to add"
            )
        self.frame_stack_axis = arguments.choice("frame_stack_axis", frame_stack_axis, AXES)
        self.prioritized = arguments.boolean("prioritized", prioritized)
        self.alpha = arguments.number_between("alpha", alpha, low=0, high=1)
        self.beta = parse_beta(beta)
        self._progress_remaining = 1.0
        self.behavior_entropy = arguments.boolean("behavior_entropy", behavior_entropy)
        self.action_mask_size = arguments.integer_from("action_mask_size", action_mask_size, low=0)
        self.storage_device = str(storage_device)
        self.memory_limit = memory_limit
        self._layout = Layout(
            observation_space,
            self.obs_shape,
            action_space,
            Column((self.action_dim,), np.dtype(self._maybe_cast_dtype(action_space.dtype))),
            self.buffer_size,
            self.n_envs,
            frame_stack,
            frame_stack_axis,
            once=optimize_memory_usage,
            notes=self._kept_notes(),
        )
        self.frame_stack = self._layout.frame_stack
        self._notes: dict[str, np.ndarray] = {}
        self._placed = self._place()

    def _kept_notes(self) -> dict[str, Column]:
        notes = {ENTROPIES: NUMBER} if self.soft_n_steps or self.behavior_entropy else {}
        if self.action_mask_size:
            notes |= dict.fromkeys((MASKS, NEXT_MASKS), Column((self.action_mask_size,), np.dtype(np.bool_)))
        return notes

    # ---------------------------------------------------------------- where it is stored

    @property
    def nbytes(self) -> int:
        """
        Bytes that the full buffer takes where it is stored, known before any are allocated. Where frames are stored
        once, short episodes add to that: a frame for each episode in the buffer, or a stack if its first one has other
        frames than zeros and repetitions.
        """
        priorities = Priorities.nbytes_of(self.buffer_size * self.n_envs) if self.prioritized else 0
        return self._layout.nbytes + priorities

    def _place(self) -> th.device:
        limit = None if self.memory_limit is None else memory.parse_bytes("memory_limit", self.memory_limit)
        return memory.place(self.nbytes, self.storage_device, self._device, limit)

    @property
    def device(self) -> th.device:
        """
        Where samples are delivered. Setting it also moves the transitions, by way of the host, if ``storage_device`` is
        ``"auto"``.
        """
        return self._device

    @device.setter
    def device(self, device: th.device | str) -> None:
        new = get_device(device)
        if self._storage is None or self._device == new:
            self._device = new
            return
        kept = vars(self).copy()
        try:
            state = self.__getstate__()
            state["attributes"]["_device"] = new
            self.__setstate__(state)
        except BaseException:  # it does not fit there, or the copy is interrupted
            vars(self).update(kept)
            raise

    @property
    def storage(self) -> Storage:
        """The transitions; their memory is allocated when this is first used."""
        if self._storage is None:
            if self._placed.type == "cuda":
                self._placed = self._place()  # less may be free than when the buffer was created
            on_host_for_cuda = self._placed.type == "cpu" and self._device.type == "cuda"
            try:
                self._storage = Storage(self._layout, self._placed, pin=on_host_for_cuda)
            except MemoryError as error:
                needed = memory.format_bytes(self.nbytes)
                raise MemoryError(
                    f"the replay buffer needs {needed}, which cannot be allocated. {memory.SMALLER}: {error}"
                ) from error
            self._gather = Gather(
                self._storage,
                self._device,
                self.n_steps,
                self.gamma,
                self.soft_n_steps,
                self.handle_timeout_termination,
                self.prioritized,
                self.behavior_entropy,
                self.action_mask_size > 0,
            )
            if self.prioritized:
                self._priorities = Priorities(self.buffer_size, self.n_envs, self.alpha, self._placed)
        return self._storage

    # SB3's names

    @property
    def observations(self) -> Any:  # type: ignore[override]
        stored = self.storage.stored_observations(following=False)
        return stored.get(UNNAMED, stored)

    @property
    def next_observations(self) -> Any:  # type: ignore[override]
        stored = self.storage.stored_observations(following=True)
        return stored.get(UNNAMED, stored)

    @property
    def actions(self) -> Any:  # type: ignore[override]
        return self.storage.stored("actions")

    @property
    def rewards(self) -> Any:  # type: ignore[override]
        return self.storage.stored("rewards")

    @property
    def dones(self) -> Any:  # type: ignore[override]
        return self.storage.stored("dones")

    @property
    def timeouts(self) -> Any:  # type: ignore[override]
        return self.storage.stored("timeouts")

    # ---------------------------------------------------------------- adding

    def note(self, **values: np.ndarray) -> None:
        """
        Pass what else belongs to the transitions that are added next.

        :param values: ``entropies`` with ``soft_n_steps`` or ``behavior_entropy``: ``(E,)`` in nats, of the policy at
            the observations; ``action_masks`` and ``next_action_masks`` with ``action_mask_size``: ``(E, S)`` bool
        :raises ValueError: for a name the buffer does not keep, or a wrong shape
        """
        for name, value in values.items():
            if name not in self._layout.note_fields:
                kept = f", only {', '.join(self._layout.note_fields)}" if self._layout.note_fields else ""
                raise ValueError(
                    f"this replay buffer keeps no {name}{kept}: see its arguments soft_n_steps, behavior_entropy and "
                    "action_mask_size"
                )
            self._notes[name] = self._layout.note_fields[name](value)

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """
        Add one transition of each environment. If any of them is invalid, none is added.

        :param obs: ``(E, *shape)``, or a dict of them
        :param next_obs: as ``obs``
        :param action: ``(E, *shape)``
        :param reward: ``(E,)``
        :param done: ``(E,)`` whether the episode was terminated or truncated
        :param infos: of each environment; ``"TimeLimit.truncated"`` in them means truncated
        :raises ValueError: for a wrong shape, or observations that are not stacked as ``frame_stack`` says
        :raises TypeError: for a wrong type
        """
        layout = self._layout
        if UNNAMED in layout.parts:
            values = [action, reward, done, obs, next_obs]
        else:
            values = [action, reward, done, *self._by_key(obs, next_obs)]
        for index, field in enumerate(layout.fields):
            value = values[index]
            if value.__class__ is not np.ndarray or value.dtype is not field.usual or value.shape != field.shape:
                values[index] = field(value)
        if self.handle_timeout_termination:
            truncated = [info.get("TimeLimit.truncated", False) for info in infos]
            if len(truncated) != self.n_envs:
                raise ValueError(f"infos has {len(truncated)} entries, expected {self.n_envs}, one per environment")
            values.append(truncated if any(truncated) else 0.0)  # writing a list is slow, and truncations are rare
        else:
            values.append(0.0)
        if layout.note_fields:
            values += self._noted()
        storage = self.storage if self._storage is None else self._storage  # the property alone would be slower
        storage.write(values)
        self._notes = {}
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full = True
            self.pos = 0

    def _by_key(self, obs: Any, next_obs: Any) -> list[Any]:
        for name, given in (("obs", obs), ("next_obs", next_obs)):
            if not isinstance(given, Mapping) or not self._layout.parts.keys() <= given.keys():
                keys = sorted(given) if isinstance(given, Mapping) else type(given).__name__
                raise ValueError(f"{name} must be a dict with the keys {sorted(self._layout.parts)}, got {keys}")
        return [each[key] for key in self._layout.parts for each in (obs, next_obs)]

    def _noted(self) -> list[np.ndarray]:
        if self._notes.keys() != self._layout.note_fields.keys():
            needed = ", ".join(f"{name}=..." for name in self._layout.note_fields)
            raise ValueError(
                "soft_n_steps, behavior_entropy and action_mask_size need extra values before every add(): use them "
                f"with SoftAC, which passes these, or call note({needed})"
            )
        return [self._notes[name] for name in self._layout.note_fields]

    def reset(self) -> None:
        """Remove all transitions, and free their memory."""
        super().reset()
        self._storage = None

    def truncate_last_trajectory(self) -> None:
        """
        Mark unfinished episodes as truncated at the newest transitions, because what is added next does not continue
        them: n-step returns then do not reach beyond that point.
        """
        if self.size() > 0:
            newest = self._newest()
            unfinished = self.dones[newest] == 0
            self.timeouts[newest][unfinished] = 1.0

    def _newest(self) -> int:
        return (self.pos - 1) % self.buffer_size

    # ---------------------------------------------------------------- drawing

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """
        :param batch_size: B
        :param env: its statistics normalise observations and rewards; None to leave them as they were added
        :return: SB3's ``ReplayBufferSamples`` or ``DictReplayBufferSamples``;
            :class:`~sac_ext.buffers.SoftReplayBufferSamples` with ``prioritized``, ``soft_n_steps``,
            ``behavior_entropy`` or action masks
        :raises ValueError: if the buffer is empty
        """
        entries, weights = self._draw(1, batch_size)
        return self._gather.batch(entries, weights, env)

    def sample_many(self, n: int, batch_size: int, env: VecNormalize | None = None) -> list[Any]:
        """
        ``n`` batches at once: what ``n`` calls of :meth:`sample` would give, except that prioritised draws all use the
        current priorities.

        :param n: how many batches
        :param batch_size: B
        :param env: as for :meth:`sample`
        :return: n batches
        :raises ValueError: if the buffer is empty
        """
        entries, weights = self._draw(n, batch_size)
        return list(self._gather.batches(n, entries, weights, env))

    def batches(self, n: int, batch_size: int, env: VecNormalize | None = None) -> Iterator[Any]:
        """
        ``n`` batches for as many gradient steps. They are drawn at once (one by one with ``prioritized``, where each
        step changes the priorities for the next draw), and gathered as they are needed.

        :param n: how many batches
        :param batch_size: B
        :param env: as for :meth:`sample`
        :raises ValueError: if the buffer is empty
        """
        if self.prioritized:
            for _ in range(n):
                yield self.sample(batch_size, env)
        elif n > 0:
            entries, weights = self._draw(n, batch_size)
            yield from self._gather.batches(n, entries, weights, env)

    def _draw(self, n: int, batch_size: int) -> tuple[Entries, th.Tensor | None]:
        """:return: n * B entries, and their weights in the loss"""
        if n < 1 or batch_size < 1:
            raise ValueError(f"n and batch_size must be >= 1, got {n!r} and {batch_size!r}")
        if self.size() == 0:
            raise ValueError(EMPTY)
        count, device = self.storage.count, self._placed
        if self.prioritized:
            start, end = self.beta
            beta = end + self._progress_remaining * (start - end)
            index, weights = self._priorities.draw(n, batch_size, count, beta)
            return Entries(index // self.n_envs, index % self.n_envs, self.n_envs), weights
        size = self.size()
        # SB3 leaves out the oldest row in this case, of which it has overwritten an observation
        oldest = 1 if self.optimize_memory_usage and self.full and size > 1 else 0
        rows, envs = draws.uniform(n, batch_size, oldest, size, self.n_envs, device)
        return Entries((rows + self.pos) % size if oldest else rows, envs, self.n_envs), None

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> Any:
        """SB3's interface for samples of given rows; the environments are drawn."""
        if self.size() == 0:
            raise ValueError(EMPTY)
        device, size = self._placed, len(batch_inds)
        rows = th.as_tensor(batch_inds, device=device) % self.buffer_size
        entries = Entries(rows, draws.integers(0, self.n_envs, size, device), self.n_envs)
        return self._gather.batch(entries, None, env)

    # ---------------------------------------------------------------- priorities

    def update_priorities(self, indices: th.Tensor, td_errors: th.Tensor) -> None:
        """
        Update the priorities of sampled transitions.

        :param indices: ``(B,)`` the ``indices`` of their batch
        :param td_errors: ``(B,)`` the TD error of each; one that is not finite changes nothing
        :raises ValueError: if the buffer is not prioritised or empty, or for another shape
        """
        if not self.prioritized:
            raise ValueError("update_priorities needs a replay buffer with prioritized=True")
        if self.size() == 0:
            raise ValueError(EMPTY)
        if indices.ndim != 1 or indices.is_floating_point() or td_errors.shape != indices.shape:
            raise ValueError(
                "indices must be (B,) integers, with td_errors of the same shape, got shapes "
                f"{tuple(indices.shape)} and {tuple(td_errors.shape)}, {indices.dtype} and {td_errors.dtype}"
            )
        self._priorities.update(indices.to(self._placed), td_errors.to(self._placed))

    def set_progress_remaining(self, progress_remaining: float) -> None:
        """
        :param progress_remaining: 1 at the start of training, 0 at its end; ``beta`` depends on it
        """
        self._progress_remaining = progress_remaining

    # ---------------------------------------------------------------- files

    def save(self, path: files.Source) -> None:
        """
        Write only the filled part of the buffer to a safetensors file with JSON in its header.

        :param path: path, where the file appears whole or not at all, or a file object
        """
        description = {
            "buffer_size": self.buffer_size,
            "n_envs": self.n_envs,
            "observation_space": repr(self.observation_space),
            "action_space": repr(self.action_space),
            "arguments": {name: getattr(self, name) for name in SAVED_ARGUMENTS},
            "contents": self._contents(),
        }
        files.write(path, self._live(), description)

    @classmethod
    def load(
        cls,
        path: files.Source,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        n_envs: int | None = None,
        **options: Any,
    ) -> "DeviceReplayBuffer":
        """
        :param path: path, or a file object, written by :meth:`save` on any device
        :param observation_space: of the environment that training continues with
        :param action_space: of the environment that training continues with
        :param device: as in the constructor
        :param n_envs: how many environments training continues with; None for as many as in the file
        :param options: arguments of the constructor that replace those in the file: where transitions are stored
            (``storage_device``, ``memory_limit``) and how they are drawn (``n_steps``, ``gamma``, ``soft_n_steps``,
            ``prioritized``, ``alpha``, ``beta``)
        :return: a replay buffer with what was saved
        :raises ValueError: if the file is of another kind, damaged, or of other spaces or another number of
            environments
        """
        with files.reader(path) as reader:
            saved = reader.description
            if n_envs not in (None, saved["n_envs"]):
                raise ValueError(
                    f"{reader.path} holds transitions of {saved['n_envs']!r} environments, but n_envs={n_envs!r}: "
                    f"continue with n_envs={saved['n_envs']!r}"
                )
            for name, space in (("observation_space", observation_space), ("action_space", action_space)):
                if saved[name] != repr(space):
                    raise ValueError(f"{reader.path} holds transitions of {name} {saved[name]}, but {name} is {space}")
            buffer = cls(
                saved["buffer_size"] * saved["n_envs"],
                observation_space,
                action_space,
                device=device,
                n_envs=saved["n_envs"],
                **saved["arguments"] | options,
            )
            buffer._fill(saved["contents"], reader.read)
        return buffer

    def _contents(self) -> dict[str, Any]:
        """:return: what ``_fill`` needs besides the rows, of JSON types"""
        storage = self.storage.counters()
        return {"storage": storage, "priorities": self._priorities.counters() if self.prioritized else None}

    def _live(self) -> dict[str, Live]:
        live = self.storage.live()
        if self.prioritized:
            live["priorities"] = self._priorities.live()
        return live

    def _fill(self, contents: dict[str, Any], read: Callable[[dict[str, Live]], None]) -> None:
        """
        :param contents: what ``_contents`` returned
        :param read: copies saved rows into those that it is given
        """
        self.storage.restore(contents["storage"])
        count = self.storage.count
        self.pos, self.full = count % self.buffer_size, count >= self.buffer_size
        live = self.storage.live()
        if self.prioritized and contents["priorities"] is not None:
            self._priorities.restore(contents["priorities"])
            live["priorities"] = self._priorities.live()
        read(live)
        if "priorities" in live:
            self._priorities.read(live["priorities"])

    def __getstate__(self) -> dict[str, Any]:
        contents, arrays = self._contents(), files.to_arrays(self._live())
        attributes = {name: value for name, value in vars(self).items() if name not in MADE_AGAIN}
        return {"attributes": attributes, "contents": contents, "arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(NOT_IN_OLD_PICKLES | state["attributes"])
        self._notes = {}
        self._storage = None
        self._device = get_device(self._device)  # the CPU if there is no device of that kind
        self.storage_device = memory.existing_or_auto(self.storage_device)
        self._placed = self._place()
        self._fill(state["contents"], lambda live: files.from_arrays(live, state["arrays"]))
