"""What a replay buffer keeps of each transition, given its arguments and spaces; allocates no memory.

``E`` environments, ``L`` rows (one step of all environments each).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sac_ext import arguments
from sac_ext.buffers.fields import Field
from sac_ext.buffers.files import DTYPES
from sac_ext.buffers.frames import LINKS, FrameStore, Stacking
from sac_ext.buffers.ring import Column

UNNAMED = ""  # the key of observations that are not a Dict

NUMBER = Column((), np.dtype(np.float32))


@dataclass(frozen=True)
class ObservationPart:
    """
    The observation, or one key of Dict observations.

    :param column: one observation
    :param stacking: how it is made of frames that are stored once; None to store it and the next observation whole
    :param field: what ``add`` takes
    :param next_field: what ``add`` takes for the next observation
    """

    column: Column
    stacking: Stacking | None
    field: Field
    next_field: Field


class Layout:
    """
    :param observation_space: Observation space
    :param obs_shapes: its shape as SB3 stores it, or those of a Dict's keys
    :param action_space: Action space
    :param action: one action, as SB3 stores it
    :param length: L
    :param n_envs: E
    :param frame_stack: number of frames that observations are stacks of, or a dict of such numbers
    :param frame_stack_axis: axis along which they are stacked
    :param once: store each observation once, even if it is not a stack
    :param notes: what else belongs to a transition, by name
    :raises ValueError: if observations cannot be such stacks
    :raises TypeError: if torch lacks the dtype of a space
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        obs_shapes: tuple[int, ...] | dict[str, tuple[int, ...]],
        action_space: spaces.Space[Any],
        action: Column,
        length: int,
        n_envs: int,
        frame_stack: int | Mapping[str, int],
        frame_stack_axis: str,
        once: bool,
        notes: Mapping[str, Column],
    ) -> None:
        self.length, self.n_envs = length, n_envs
        subspaces: Any = observation_space if isinstance(obs_shapes, dict) else {UNNAMED: observation_space}
        shapes = obs_shapes if isinstance(obs_shapes, dict) else {UNNAMED: obs_shapes}
        sizes = _stack_sizes(frame_stack, set(shapes))
        self.frame_stack = (
            {key: sizes[key] for key in frame_stack} if isinstance(frame_stack, Mapping) else sizes[min(sizes)]
        )
        self.parts: dict[str, ObservationPart] = {}
        for key, shape in shapes.items():
            space, suffix = subspaces[key], f"[{key!r}]" if key else ""
            column, size = Column(shape, _checked_dtype(f"obs{suffix}", space.dtype)), sizes[key]
            stacked = size > 1 or (once and column.nbytes > LINKS.nbytes)  # else links take more than a second copy
            self.parts[key] = ObservationPart(
                column,
                Stacking.of(f"obs{suffix}", size, frame_stack_axis, space, column) if stacked else None,
                Field(f"obs{suffix}", column, n_envs, space.shape),
                Field(f"next_obs{suffix}", column, n_envs, space.shape),
            )
        _checked_dtype("action", action.dtype)
        # what a row keeps, except for frames that are stored once
        self.columns = {"actions": action, "rewards": NUMBER, "dones": NUMBER}
        for key, part in self.parts.items():
            if part.stacking is None:
                self.columns |= dict.fromkeys(pair_names(key), part.column)
        self.columns |= {"timeouts": NUMBER, **notes}
        # what add takes, in the order of the columns
        done = Field("done", NUMBER, n_envs)
        self.fields = [
            Field("action", action, n_envs, action_space.shape),
            Field("reward", NUMBER, n_envs),
            done,
            *(field for part in self.parts.values() for field in (part.field, part.next_field)),
        ]
        self.done_place = self.fields.index(done)
        self.note_fields = {name: Field(name, column, n_envs) for name, column in notes.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of the whole buffer when it is full."""
        columns = self.length * self.n_envs * sum(column.nbytes for column in self.columns.values())
        stackings = [part.stacking for part in self.parts.values() if part.stacking is not None]
        return columns + sum(FrameStore.nbytes_of(stacking, self.length, self.n_envs) for stacking in stackings)

    @property
    def sample_nbytes(self) -> int:
        """Bytes of one transition in a sample."""
        frames = sum(2 * part.column.nbytes for part in self.parts.values() if part.stacking is not None)
        return frames + sum(column.nbytes for column in self.columns.values())


def pair_names(key: str) -> tuple[str, str]:
    """:return: names of the columns of an observation and the next one"""
    suffix = f".{key}" if key else ""
    return f"observations{suffix}", f"next_observations{suffix}"


def _stack_sizes(frame_stack: int | Mapping[str, int], keys: set[str]) -> dict[str, int]:
    sizes = dict.fromkeys(keys, 1)
    if isinstance(frame_stack, Mapping):
        if not set(frame_stack) <= keys - {UNNAMED}:
            known = sorted(keys - {UNNAMED}) or "which has none"
            raise ValueError(
                f"frame_stack={dict(frame_stack)!r} must have keys of the observation space, {known}, or be a number"
            )
        sizes |= frame_stack
    else:
        sizes = dict.fromkeys(keys, frame_stack)
    return {key: arguments.integer_from("frame_stack", size, low=1) for key, size in sizes.items()}


def _checked_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    checked: np.dtype[Any] = np.dtype(dtype)
    if checked.name not in DTYPES:
        raise TypeError(f"{name} has dtype {dtype}, expected one of {', '.join(DTYPES)}")
    return checked
