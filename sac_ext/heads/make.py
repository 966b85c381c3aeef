"""From an action space to its family."""

import math
from functools import singledispatch
from typing import Any

from gymnasium import spaces

from sac_ext import arguments
from sac_ext.heads.base import ActionHead
from sac_ext.heads.box import BoxHead
from sac_ext.heads.categorical import AdditiveHead, CategoricalHead, JointHead, LocalHead

CRITICS = ("auto", "joint", "local", "additive")
JOINT_BY_DEFAULT = 512  # joint actions at most
JOINT_AT_MOST = 65_536

HEAD_OPTIONS = ("critic", "local_components")


def has_discrete_actions(space: spaces.Space[Any]) -> bool:
    """:return: whether actions are made of numbered values, some of which an environment may mask"""
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


@singledispatch
def make_head(space: spaces.Space[Any], critic: str | None = None, local_components: int | None = None) -> ActionHead:
    """
    :param space: Action space
    :param critic: on discrete actions: ``"joint"`` (an output for each joint action), ``"local"`` (the action is an
        input), ``"additive"`` (a sum over components), or ``"auto"``, the default: joint for up to 512 joint actions or
        a single component, otherwise local
    :param local_components: with local critics, number of components, drawn anew at each step, from which the actor's
        gradient is estimated; None for all
    :return: the family that the space belongs to
    :raises TypeError: if the space belongs to no family
    :raises ValueError: for options that do not apply to the space
    """
    supported = sorted(kind.__name__ for kind in make_head.registry if kind is not object)
    raise TypeError(
        f"SoftAC has no policy for the action space {space}: supported are {', '.join(supported)}. "
        "Flatten or re-encode the actions with a gymnasium.ActionWrapper"
    )


@make_head.register
def _(space: spaces.Box, critic: str | None = None, local_components: int | None = None) -> ActionHead:
    for name, value in (("critic", critic), ("local_components", local_components)):
        if value is not None:
            raise ValueError(
                f"policy_kwargs {name}={value!r} is for discrete actions, but the action space is {space}: leave it out"
            )
    return BoxHead(space)


@make_head.register
def _(space: spaces.Discrete, critic: str | None = None, local_components: int | None = None) -> ActionHead:
    return _categorical(space, (int(space.n),), (int(space.start),), (), critic, local_components)


@make_head.register
def _(space: spaces.MultiDiscrete, critic: str | None = None, local_components: int | None = None) -> ActionHead:
    if space.nvec.ndim != 1:
        raise _not_flat(space)
    starts = getattr(space, "start", None)  # gymnasium 1.0 and later
    sizes = tuple(map(int, space.nvec))
    starts = (0,) * len(sizes) if starts is None else tuple(map(int, starts))
    return _categorical(space, sizes, starts, space.shape, critic, local_components)


@make_head.register
def _(space: spaces.MultiBinary, critic: str | None = None, local_components: int | None = None) -> ActionHead:
    if len(space.shape) != 1:
        raise _not_flat(space)
    (n,) = space.shape
    return _categorical(space, (2,) * n, (0,) * n, space.shape, critic, local_components)


def _not_flat(space: spaces.Space[Any]) -> TypeError:
    return TypeError(
        f"SoftAC has no policy for the action space {space} of shape {space.shape}: flatten it to one dimension with a "
        "gymnasium.ActionWrapper"
    )


def _categorical(
    space: spaces.Space[Any],
    sizes: tuple[int, ...],
    starts: tuple[int, ...],
    shape: tuple[int, ...],
    critic: str | None,
    local_components: int | None,
) -> CategoricalHead:
    n_joint = math.prod(sizes)
    chosen = "auto" if critic is None else arguments.choice("policy_kwargs critic", critic, CRITICS)
    if chosen == "auto":
        chosen = "joint" if n_joint <= JOINT_BY_DEFAULT or len(sizes) == 1 else "local"
    if local_components is not None:
        if chosen != "local":
            raise ValueError(
                f"policy_kwargs local_components={local_components!r} is for critic='local', but the critic of "
                f"{space} is {chosen!r}: leave it out, or give critic='local'"
            )
        if arguments.integer_from("policy_kwargs local_components", local_components, low=1) > len(sizes):
            raise ValueError(
                f"policy_kwargs local_components={local_components!r} must be at most {len(sizes)}, the number of "
                f"components of {space}"
            )
    if chosen == "joint" and len(sizes) > 1 and n_joint > JOINT_AT_MOST:
        raise ValueError(
            f"policy_kwargs critic='joint' would need {n_joint} outputs for {space}, one for each joint action, but at "
            f"most {JOINT_AT_MOST} are allowed: use critic='local' (models interactions between components) or "
            "critic='additive' (does not)"
        )
    if chosen == "local":
        return LocalHead(space, sizes, starts, shape, local_components)
    return (JointHead if chosen == "joint" else AdditiveHead)(space, sizes, starts, shape)
