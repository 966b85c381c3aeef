"""Registering SoftAC in rl-baselines3-zoo's tables of algorithms."""

from collections.abc import Iterable
from typing import Any

from sac_ext.soft_ac import SoftAC
from sac_ext.zoo import environments
from sac_ext.zoo.running import ALGO


class PlayedSoftAC(SoftAC):
    """SoftAC, loaded to be played: the replay buffer for training is not allocated."""

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> "PlayedSoftAC":
        return super().load(*args, **{"buffer_size": 1, **kwargs})


def register(algorithm: type[SoftAC] = SoftAC, asked_for: Iterable[str] = ()) -> None:
    """
    Register ``--algo softac`` with rl_zoo3 in this process, also for ``-optimize`` and ``--trial-id``, and the
    environments of MinAtar and gymnasium-robotics, where these are installed, with gymnasium.

    :param algorithm: class to register
    :param asked_for: names of environments; gymnasium-robotics is imported if one of them is not known otherwise
    :raises ImportError: if rl_zoo3 is not installed
    """
    try:
        import rl_zoo3
        from rl_zoo3 import hyperparams_opt
    except ImportError as error:
        raise ImportError(f'{error}. The zoo commands need: pip install "sac-ext[zoo]"') from error
    rl_zoo3.ALGOS[ALGO] = algorithm
    hyperparams_opt.HYPERPARAMS_SAMPLER[ALGO] = sample_params
    hyperparams_opt.HYPERPARAMS_CONVERTER[ALGO] = convert_params
    environments.register(asked_for)


def sample_params(trial: Any, n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
    """
    Propose parameters from the spaces of ``softac-tune``, in the form of rl_zoo3's samplers.

    :param trial: Optuna's trial
    :param n_actions: size of an action, on Box; 0 on discrete actions
    :param n_envs: not used
    :param additional_args: not used
    :return: arguments of SoftAC
    """
    space = _space("box" if n_actions else "discrete")
    return _arguments(space, space.suggest(trial))


def convert_params(params: dict[str, Any]) -> dict[str, Any]:
    """
    :param params: parameters of a trial
    :return: arguments of SoftAC
    """
    return _arguments(_space("discrete" if "target_end" in params else "box"), params)  # box has no target_end


def _arguments(space: Any, params: dict[str, Any]) -> dict[str, Any]:
    """:return: arguments of SoftAC, which override those of an entry in rl_zoo3"""
    of_learned_ones = dict.fromkeys(("ent_coef_learning_rate", "ent_coef_bounds"))
    return (of_learned_ones if params["alpha"] == "fixed" else {}) | dict(space.arguments(params, {}))


def _space(name: str) -> Any:
    from sac_ext.tuning.space import load_space, parse_space

    return parse_space(load_space(name), name)
