"""SoftAC in rl-baselines3-zoo: ``python -m sac_ext.zoo train --env CartPole-v1``, then ``... enjoy --env CartPole-v1``.

The zoo knows its algorithms by a fixed table, so this registers SoftAC there and then runs the zoo's own command. Needs
``pip install "sac-ext[zoo]"``. Nothing here is imported by ``import sac_ext``: importing the zoo patches gymnasium.
"""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from sac_ext import SoftAC

ALGO = "softac"
LOG_FOLDER = "logs"
SCORE_EPISODES = 20
SCORE_SEED_OFFSET = 10_000  # the score's environment must not repeat the training's


class PlayedSoftAC(SoftAC):
    """SoftAC loaded to be played: the replay buffer it would train with is not allocated."""

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> "PlayedSoftAC":
        return super().load(*args, **{"buffer_size": 1, **kwargs})


def register(algorithm: type[SoftAC] = SoftAC) -> None:
    """
    Make ``--algo softac`` known to rl_zoo3 in this process.

    :param algorithm: class to register
    :raises ImportError: if rl_zoo3 is not installed
    """
    try:
        import rl_zoo3
    except ImportError as error:
        raise ImportError(f'{error}. The zoo commands need: pip install "sac-ext[zoo]"') from error
    rl_zoo3.ALGOS[ALGO] = algorithm


def default_config() -> str:
    """:return: path of the configurations that ship with this package"""
    return str(files("sac_ext.zoo_configs") / "softac.yml")


def train(options: list[str]) -> None:
    """
    ``rl_zoo3.train`` with SoftAC (which must be registered), its configurations, a progress bar and evaluations, then
    a score of the final policy.

    :param options: command-line options of ``rl_zoo3.train``
    """
    if any(option.startswith(("-opt", "--optimize")) for option in options):
        raise SystemExit("softac-zoo train: -optimize is not available for SoftAC yet")
    from rl_zoo3 import train as zoo_train

    managers: list[Any] = []

    class Manager(zoo_train.ExperimentManager):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            managers.append(self)

    defaults = ["--conf-file", default_config(), "-f", LOG_FOLDER, "--eval-freq", "5000", "--log-interval", "100", "-P"]
    original, zoo_train.ExperimentManager = zoo_train.ExperimentManager, Manager
    try:
        _run("train", zoo_train.train, [*defaults, *options])
    finally:
        zoo_train.ExperimentManager = original
    _print_score(managers[0])


def enjoy(options: list[str]) -> None:
    """
    ``rl_zoo3.enjoy`` with a trained SoftAC (which must be registered).

    :param options: command-line options of ``rl_zoo3.enjoy``
    """
    from rl_zoo3.enjoy import enjoy as zoo_enjoy

    _run("enjoy", zoo_enjoy, ["-f", LOG_FOLDER, *options])


COMMANDS: dict[str, tuple[Callable[[list[str]], None], type[SoftAC]]] = {
    "train": (train, SoftAC),
    "enjoy": (enjoy, PlayedSoftAC),
}


def main(argv: Sequence[str] | None = None) -> None:
    """
    :param argv: command and its options; those of the process by default
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    usage = f"usage: softac-zoo {{{','.join(COMMANDS)}}} [options of rl_zoo3's command]"
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage)
        return
    if not arguments or arguments[0] not in COMMANDS:
        raise SystemExit(f"unknown command {arguments[0]!r}\n{usage}" if arguments else usage)
    command, algorithm = COMMANDS[arguments[0]]
    try:
        register(algorithm)
    except ImportError as error:
        raise SystemExit(str(error)) from error
    command(arguments[1:])


def _run(command: str, zoo_main: Callable[[], None], options: list[str]) -> None:
    """The zoo's commands read ``sys.argv``; of an option given twice, the last counts."""
    before, sys.argv = sys.argv, [f"softac-zoo {command}", "--algo", ALGO, *options]
    try:
        zoo_main()
    finally:
        sys.argv = before


def _print_score(manager: Any) -> None:
    from rl_zoo3.utils import create_test_env, get_saved_hyperparams
    from stable_baselines3.common.evaluation import evaluate_policy

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
    print(f"  {_command('train', *same, '--seed', str(manager.seed + 1))}   # once more, with another seed")


def _command(*arguments: str) -> str:
    """As one would type it in this folder."""
    python = sys.executable
    if python.startswith(os.getcwd() + os.sep):
        python = os.path.relpath(python)
    return shlex.join([python, "-m", "sac_ext.zoo", *arguments])


if __name__ == "__main__":
    main()
