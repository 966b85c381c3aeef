"""Which observation spaces are supported."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.preprocessing import check_for_nested_spaces, get_obs_shape


def check_observation_space(space: spaces.Space[Any]) -> None:
    """
    :param space: Observation space
    :raises TypeError: if SB3 does not support it
    """
    try:
        check_for_nested_spaces(space)
        get_obs_shape(space)
    except NotImplementedError as error:
        raise TypeError(
            f"SB3 does not support the observation space {space}: supported are Box, Discrete, MultiDiscrete, "
            "MultiBinary, and a Dict of these. Convert it with a gymnasium.ObservationWrapper, such as "
            "gymnasium.wrappers.FlattenObservation"
        ) from error
