"""``softac-zoo``: the commands."""

import sys
from collections.abc import Callable, Sequence

from sac_ext.soft_ac import SoftAC
from sac_ext.zoo import environments, hub, play, runs
from sac_ext.zoo.registration import PlayedSoftAC, register
from sac_ext.zoo.train import train

COMMANDS: dict[str, tuple[Callable[[list[str]], None], type[SoftAC]]] = {
    "train": (train, SoftAC),
    "enjoy": (play.enjoy, PlayedSoftAC),
    "record_video": (play.record_video, PlayedSoftAC),
    "benchmark": (play.benchmark, PlayedSoftAC),
    "plot_train": (play.plot_train, PlayedSoftAC),
    "all_plots": (play.all_plots, PlayedSoftAC),
    "plot_from_file": (play.plot_from_file, PlayedSoftAC),
    "push_to_hub": (hub.push_to_hub, SoftAC),
    "load_from_hub": (hub.load_from_hub, PlayedSoftAC),
}
PLAY = ("train", "enjoy", "record_video", "push_to_hub")
"""Those that make the environment they are given."""
OF_TRAINED = ("enjoy", "record_video", "plot_train", "all_plots", "push_to_hub")
"""Those that need something trained in it."""


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
    asked_for = environments.named_in(arguments[1:])
    try:
        register(algorithm, asked_for)
    except ImportError as error:
        raise SystemExit(str(error)) from error
    if arguments[0] in PLAY and not environments.others_are_registered(arguments[1:]):
        for name in asked_for:
            environments.check(name)
    if arguments[0] in OF_TRAINED:
        runs.check(arguments[1:], asked_for)
    command(arguments[1:])
