"""The zoo's experiment manager, with our configurations, checks of entries before anything is made, and SoftAC's own
schedules.

Needs rl_zoo3; ``train`` imports it when it runs.
"""

import difflib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_zoo3.exp_manager import ExperimentManager

from sac_ext.arguments import number_between
from sac_ext.soft_ac import SoftAC
from sac_ext.tuning.entries import ZOO_KEYS, load_entry, our_config, replay_buffer_class
from sac_ext.zoo.running import ALGO, in_one_line, needs

EPISODES_PER_TABLE = 100
"""Episodes between tables on the screen. With ``--tensorboard-log``, tables and curves have SB3's interval."""
# Arguments of SoftAC that the zoo sets by its own options
_OPTIONS = {
    "seed": "--seed",
    "device": "--device",
    "verbose": "--verbose",
    "tensorboard_log": "--tensorboard-log",
}


class Manager(ExperimentManager):  # type: ignore[misc]
    """
    Manages one run of rl_zoo3's ``train``. Other algorithms are left to the zoo.

    :param args: all options of ``train``
    :param algo: name of the algorithm in the zoo's tables
    :param config: file with entries; None for ours
    :param trial_id: number of a study's trial, whose hyperparameters to train with
    :param log_interval: episodes between two logs; -1 for the default
    """

    def __init__(
        self,
        args: Any,
        algo: str,
        *rest: Any,
        config: str | None,
        trial_id: int | None,
        log_interval: int,
        **others: Any,
    ) -> None:
        if trial_id is not None:
            if not (args.storage and args.study_name):
                raise SystemExit(
                    "--trial-id needs the study that the trial belongs to: give --storage and --study-name"
                )
            trial_id = _TrialId(trial_id)
        if algo == ALGO:
            config = config or str(our_config())
        if log_interval == -1 and not args.tensorboard_log:
            log_interval = EPISODES_PER_TABLE
        super().__init__(args, algo, *rest, config=config, trial_id=trial_id, log_interval=log_interval, **others)

    def read_hyperparameters(self) -> Any:
        """
        :return: the entry, and the entry as it is saved
        :raises SystemExit: with a one-line message, for a file without an entry to use, or an entry that cannot work
        """
        if self.algo != ALGO:
            return super().read_hyperparameters()
        try:
            if self.config.endswith((".yml", ".yaml")):
                load_entry(Path(self.config), self.env_name.gym_id)
            entry, saved = super().read_hyperparameters()
        except Exception as error:  # whatever a configuration in Python raises
            raise SystemExit(f"{self.config}: {_named(error)}") from error
        if self.n_timesteps > 0:
            entry.setdefault("n_timesteps", self.n_timesteps)
        try:
            check_entry(entry)
            n_timesteps = number_between("n_timesteps", entry["n_timesteps"], low=1)  # "1e5" of YAML is a string
        except (ValueError, TypeError) as error:
            raise SystemExit(str(error)) from error
        entry["n_timesteps"] = saved["n_timesteps"] = n_timesteps
        return entry, saved

    def load_trial(self, storage: str, study_name: str, trial_id: int | None = None, convert: bool = True) -> Any:
        """
        :raises SystemExit: with a one-line message, if there is no such trial
        """
        try:
            return super().load_trial(storage, study_name, trial_id, convert)
        except Exception as error:
            raise SystemExit(
                f"--study-name {study_name} in --storage {storage}: cannot load trial {trial_id}: {_named(error)}"
            ) from error

    def _preprocess_schedules(self, hyperparams: dict[str, Any]) -> dict[str, Any]:
        """SoftAC reads ``lin_3e-4`` itself; a schedule of the zoo could not be loaded without the zoo."""
        return hyperparams if self.algo == ALGO else super()._preprocess_schedules(hyperparams)

    def _preprocess_hyperparams(self, hyperparams: dict[str, Any]) -> Any:
        """Evaluations, and commands that play the model later, get the entry's ``env_kwargs`` too."""
        if isinstance(hyperparams.get("replay_buffer_class"), str):
            hyperparams["replay_buffer_class"] = replay_buffer_class(hyperparams["replay_buffer_class"])
        found = super()._preprocess_hyperparams(hyperparams)
        if self._eval_env_kwargs_args is None:
            self.eval_env_kwargs = self.env_kwargs
        self.args.env_kwargs = self.env_kwargs or None
        self._check_statistics()
        return found

    def _check_statistics(self) -> None:
        """:raises SystemExit: if a model whose observations were normalised is to continue without normalisation"""
        statistics = Path(os.path.dirname(self.trained_agent), self.env_name, "vecnormalize.pkl")
        if self.continue_training and statistics.exists() and not self.normalize:
            raise SystemExit(
                f"-i {self.trained_agent}: it was trained on normalised observations ({statistics}), but the entry has "
                "no normalize: add -params normalize:True"
            )

    def _create_sampler(self, sampler_method: str) -> Any:
        if sampler_method == "auto":
            needs("zoo", "optunahub")
        return super()._create_sampler(sampler_method)


class _TrialId(int):
    """A trial number that is true even if it is 0, which the zoo would take for no trial."""

    def __bool__(self) -> bool:
        return True


def check_entry(entry: Mapping[str, Any]) -> None:
    """
    :param entry: entry of a configuration file
    :raises ValueError: for a key that neither the zoo nor SoftAC knows (naming the closest one), or that is an option;
        for a missing key; for keys that do not go together
    """
    known = {*inspect.signature(SoftAC.__init__).parameters, *ZOO_KEYS} - {"self", "env", "_init_setup_model"}
    for key in entry:
        if key in _OPTIONS:
            raise ValueError(f"{key!r} cannot be set in an entry: use the option {_OPTIONS[key]}")
        if key not in known:
            close = difflib.get_close_matches(key, sorted(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see the arguments of SoftAC in its README"
            raise ValueError(f"neither rl-baselines3-zoo nor SoftAC knows the hyperparameter {key!r}; {hint}")
    if "policy" not in entry:
        raise ValueError("the entry has no policy: add policy: 'MlpPolicy', 'CnnPolicy' or 'MultiInputPolicy'")
    if "n_timesteps" not in entry:
        raise ValueError("the entry has no n_timesteps, the number of steps to train for: add it, or give -n")
    if entry.get("normalize") and entry.get("frame_stack"):
        raise ValueError(
            "normalize and frame_stack cannot be combined: the replay buffer stores observations from before "
            "normalisation, and these are not stacked. Leave one out, or stack frames in an env_wrapper"
        )


def _named(error: Exception) -> str:
    """:return: the error in one line; a ValueError's message says enough, others need their type"""
    return in_one_line(error) if type(error) is ValueError else f"{type(error).__name__}: {in_one_line(error)}"
