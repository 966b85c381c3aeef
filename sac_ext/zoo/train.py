"""Training by rl-baselines3-zoo, and a score of the final policy."""

import os
import shlex
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from sac_ext.evaluation import evaluate_policy
from sac_ext.zoo import masks
from sac_ext.zoo.options import is_given, value_of, values_of
from sac_ext.zoo.registration import PlayedSoftAC
from sac_ext.zoo.running import ALGO, needs, run_function, this_program
from sac_ext.zoo.runs import LOG_FOLDER

SCORE_EPISODES = 20
SCORE_SEED_OFFSET = 10_000  # the score's environment must not repeat the training's


def train(options: list[str]) -> None:
    """
    ``rl_zoo3.train`` with SoftAC (which must be registered), its configurations, a progress bar and evaluations,
    followed by a score of the final policy.

    :param options: command-line options of ``rl_zoo3.train``
    """
    if is_given(options, "-optimize", "--optimize-hyperparameters"):
        needs("zoo", "optuna", "pandas")
    if is_given(options, "--track"):
        needs("wandb", "wandb")
    if value_of(options, "-tb", "--tensorboard-log"):
        needs("zoo", "tensorboard")
    _check_files(options)
    from rl_zoo3 import train as zoo_train

    from sac_ext.zoo.manager import Manager

    made: list[Manager] = []

    def make(*args: Any, **kwargs: Any) -> Manager:
        made.append(Manager(*args, **kwargs))
        return made[-1]

    defaults = ["-f", LOG_FOLDER, "--eval-freq", "5000", "-P"]
    with patch.object(zoo_train, "ExperimentManager", make), masks.in_evaluations():
        run_function("train", zoo_train.train, [*defaults, *options])
    (manager,) = made
    if manager.algo == ALGO and not manager.optimize_hyperparameters:
        _print_score(manager, options)


def _check_files(options: Sequence[str]) -> None:
    """
    :param options: options of ``rl_zoo3.train``
    :raises SystemExit: with a one-line message, if a file that they name is not there
    """
    agent, config = value_of(options, "-i", "--trained-agent"), value_of(options, "-conf", "--conf-file")
    if agent and not (agent.endswith(".zip") and os.path.isfile(agent)):
        raise SystemExit(f"-i {agent}: there is no such model file (MODEL.zip)")
    if config.endswith((".yml", ".yaml", ".py")) and not os.path.isfile(config):
        raise SystemExit(f"--conf-file {config}: there is no such file")


def _print_score(manager: Any, options: Sequence[str]) -> None:
    """:param options: options that training was started with"""
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
    packages = values_of(options, "--gym-packages")
    if packages:
        same += ["--gym-packages", *packages]
    print("Next:")
    if not manager.args.uuid:  # the zoo's other commands do not find folders of --uuid
        print(f"  {_command('enjoy', *same)}   # watch it (--no-render without a screen)")
        if os.path.exists(f"{manager.save_path}/best_model.zip"):
            print(f"  {_command('enjoy', *same, '--load-best')}   # the policy that was best in evaluations")
    again = [*options, "--seed", str(manager.seed + 1)]  # of an option given twice, the last counts
    print(f"  {_command('train', *again)}   # once more, with another seed")


def _command(*arguments: str) -> str:
    """:return: the command line as one would type it in this folder"""
    program, *rest = this_program()
    if program.startswith(os.getcwd() + os.sep):
        program = os.path.relpath(program)
    return shlex.join([program, *rest, *arguments])
