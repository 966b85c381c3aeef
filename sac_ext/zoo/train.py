"""Training by rl-baselines3-zoo, and a score of the final policy."""

import difflib
import inspect
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

import yaml

from sac_ext.action_masks import evaluate_policy
from sac_ext.soft_ac import SoftAC
from sac_ext.tuning.entries import ZOO_KEYS, our_config
from sac_ext.zoo import masks
from sac_ext.zoo.registration import PlayedSoftAC
from sac_ext.zoo.running import ALGO, last_of, needs, run_function
from sac_ext.zoo.runs import LOG_FOLDER

SCORE_EPISODES = 20
SCORE_SEED_OFFSET = 10_000  # the score's environment must not repeat the training's
# Arguments of SoftAC that the zoo gives itself
_OPTIONS = {
    "seed": "--seed",
    "device": "--device",
    "verbose": "--verbose",
    "tensorboard_log": "--tensorboard-log",
}


def train(options: list[str]) -> None:
    """
    ``rl_zoo3.train`` with SoftAC (which must be registered), its configurations, a progress bar and evaluations, then
    a score of the final policy.

    :param options: command-line options of ``rl_zoo3.train``
    """
    if any(option.startswith(("-opt", "--opt")) for option in options):
        needs("zoo", "optuna", "pandas")
    if "--track" in options:
        needs("wandb", "wandb")
    _check_files(options)
    from rl_zoo3 import train as zoo_train

    managers: list[Any] = []

    class Manager(zoo_train.ExperimentManager):  # type: ignore[misc]
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
                    raise SystemExit("--trial-id needs the study that the trial is of: give --storage and --study-name")
                trial_id = _TrialId(trial_id)
            if algo == ALGO:
                config = config or str(our_config())
            if log_interval == -1 and not args.tensorboard_log:
                log_interval = 100  # tables on the screen; curves have SB3's interval
            super().__init__(args, algo, *rest, config=config, trial_id=trial_id, log_interval=log_interval, **others)
            managers.append(self)

        def read_hyperparameters(self) -> Any:
            try:
                found = super().read_hyperparameters()
            except (ValueError, yaml.YAMLError) as error:  # no entry and no default, or no YAML
                raise SystemExit(f"{self.config}: {error}") from error
            if self.algo == ALGO:
                try:
                    _check_keys(found[0])
                except ValueError as error:
                    raise SystemExit(str(error)) from error
            return found

        def _preprocess_schedules(self, hyperparams: dict[str, Any]) -> dict[str, Any]:
            """SoftAC reads ``lin_3e-4`` itself; a schedule of the zoo's could not be loaded without the zoo."""
            return hyperparams if self.algo == ALGO else super()._preprocess_schedules(hyperparams)

        def _preprocess_hyperparams(self, hyperparams: dict[str, Any]) -> Any:
            """Evaluations, and what plays the model later, get the entry's ``env_kwargs`` too."""
            found = super()._preprocess_hyperparams(hyperparams)
            if self._eval_env_kwargs_args is None:
                self.eval_env_kwargs = self.env_kwargs
            self.args.env_kwargs = self.env_kwargs or None
            return found

    defaults = ["-f", LOG_FOLDER, "--eval-freq", "5000", "-P"]
    with patch.object(zoo_train, "ExperimentManager", Manager), masks.in_evaluations():
        run_function("train", zoo_train.train, [*defaults, *options])
    if managers[0].algo == ALGO and not managers[0].optimize_hyperparameters:
        _print_score(managers[0], options)


def _check_files(options: Sequence[str]) -> None:
    """
    :param options: of ``rl_zoo3.train``
    :raises SystemExit: in one line, if a file that they name is not there
    """
    agent, config = last_of(options, "-i", "--trained-agent"), last_of(options, "-conf", "--conf-file")
    if agent and not (agent.endswith(".zip") and os.path.isfile(agent)):
        raise SystemExit(f"-i {agent}: there is no such file of a model, MODEL.zip")
    if config.endswith((".yml", ".yaml", ".py")) and not os.path.isfile(config):
        raise SystemExit(f"--conf-file {config}: there is no such file")


class _TrialId(int):
    """Zero is a trial too, which the zoo takes for none."""

    def __bool__(self) -> bool:
        return True


def _check_keys(hyperparams: Mapping[str, Any]) -> None:
    """
    :param hyperparams: of an entry
    :raises ValueError: for a key that neither the zoo nor SoftAC knows, with the nearest one, or that is an option
    """
    known = {*inspect.signature(SoftAC.__init__).parameters, *ZOO_KEYS} - {"self", "env", "_init_setup_model"}
    for key in hyperparams:
        if key in _OPTIONS:
            raise ValueError(f"{key!r} is no hyperparameter of an entry but an option: {_OPTIONS[key]}")
        if key not in known:
            close = difflib.get_close_matches(key, sorted(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see the arguments of SoftAC in its README"
            raise ValueError(f"neither rl-baselines3-zoo nor SoftAC knows the hyperparameter {key!r}; {hint}")


def _print_score(manager: Any, options: Sequence[str]) -> None:
    """:param options: that training was started with"""
    from rl_zoo3.utils import create_test_env, get_saved_hyperparams

    path = f"{manager.save_path}/{manager.env_name}.zip"
    hyperparams, stats_path = get_saved_hyperparams(manager.params_path, norm_reward=False, test_mode=True)
    hyperparams.pop("env_kwargs", None)
    env = create_test_env(
        manager.env_name.gym_id,
        stats_path=stats_path,
        seed=(manager.seed + SCORE_SEED_OFFSET) % 2**32,
        should_render=False,
        hyperparams=hyperparams,
        env_kwargs=manager.eval_env_kwargs,
    )
    model = PlayedSoftAC.load(path, env=env, device=manager.device)
    deterministic = manager.deterministic_eval
    mean, std = evaluate_policy(model, env, SCORE_EPISODES, deterministic=deterministic)
    env.close()
    how = "deterministic" if deterministic else "stochastic"
    print(f"\nScore of the final policy: {mean:.2f} +/- {std:.2f} ({SCORE_EPISODES} {how} episodes)")
    print(f"Saved in {path}")
    same = ["--env", manager.env_name.gym_id, "-f", manager.log_folder]
    print("Next:")
    print(f"  {_command('enjoy', *same)}   # watch it (--no-render without a screen)")
    if os.path.exists(f"{manager.save_path}/best_model.zip"):
        print(f"  {_command('enjoy', *same, '--load-best')}   # the best policy of the evaluations")
    again = [*options, "--seed", str(manager.seed + 1)]  # of an option given twice, the last counts
    print(f"  {_command('train', *again)}   # once more, with another seed")


def _command(*arguments: str) -> str:
    """As one would type it in this folder."""
    python = sys.executable
    if python.startswith(os.getcwd() + os.sep):
        python = os.path.relpath(python)
    return shlex.join([python, "-m", "sac_ext.zoo", *arguments])
