"""Setting up a study: settings from what the user asks for, their checks, and the first trial."""

import ast
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from gymnasium import spaces
from optuna.trial import TrialState

from sac_ext import SoftAC

from .entries import load_entry, our_config
from .environments import EnvironmentSpec
from .evaluate import Protocol, is_stochastic
from .settings import Settings, has_settings, settings_of
from .space import load_space
from .trials import AS_IS, BASELINE, RETRY_OF, book_of

FIRST_VALIDATION_SEED, FIRST_TEST_SEED = 100, 1000
"""Seeds of tuning are below the first, those of validation below the second, those of tests from the second on."""
_OF_PROTOCOL = ("steps", "evaluations", "episodes", "metric")
_OF_SEARCH = ("sampler", "sampler_seed", "pruner")


@dataclass(frozen=True)
class Asked:
    """What the user asked for; options that were left out are None."""

    env: str | None = None
    env_kwargs: Mapping[str, Any] | None = None
    conf_file: str | None = None
    hyperparams: Mapping[str, Any] | None = None
    space: str | None = None
    tune: Sequence[str] | None = None
    seeds: int | None = None
    steps: int | None = None
    evaluations: int | None = None
    episodes: int | None = None
    metric: str | None = None
    sampler: str | None = None
    sampler_seed: int | None = None
    pruner: str | None = None


def settings_from(asked: Asked, stored: Settings | None) -> Settings:
    """
    Complete what the user asked for: with defaults for a new study, with the stored settings for an existing one.

    :param asked: what the user asked for
    :param stored: settings stored in the study, None if it is new
    :return: complete settings
    :raises ValueError: for values that do not exist, or do not go together
    """
    if asked.seeds is not None and not 1 <= asked.seeds <= FIRST_VALIDATION_SEED:
        raise ValueError(f"seeds must be between 1 and {FIRST_VALIDATION_SEED}, got {asked.seeds}")
    return _new_settings(asked) if stored is None else _resumed_settings(asked, stored)


def _new_settings(asked: Asked) -> Settings:
    """:return: settings, with defaults for what was left out"""
    if asked.env is None:
        raise ValueError("A new study needs an environment, such as --env CartPole-v1")
    entry = _entry(asked.env, asked)
    env = EnvironmentSpec.of_entry(asked.env, entry, asked.env_kwargs or {})
    numbers = _given(asked, _OF_PROTOCOL)
    if "steps" not in numbers:
        if "n_timesteps" not in entry:
            raise ValueError(
                f"The entry for {asked.env} has no n_timesteps: set the length of a run, such as --steps 20000"
            )
        numbers["steps"] = int(float(entry["n_timesteps"]))
    protocol = Protocol(**numbers, deterministic=not is_stochastic(asked.env))
    source = asked.space or _built_in_space(env)
    return Settings(
        env,
        entry,
        load_space(source),
        list(asked.tune or ()),
        list(range(asked.seeds or 1)),
        protocol,
        space_source=source,
        **_given(asked, _OF_SEARCH),
    )


def _resumed_settings(asked: Asked, stored: Settings) -> Settings:
    """:return: settings, with the stored values for what was left out"""
    changed: dict[str, Any] = _given(asked, _OF_SEARCH)
    env_id = stored.env.env_id if asked.env is None else asked.env
    entry = stored.entry
    if env_id != stored.env.env_id or asked.conf_file is not None or asked.hyperparams is not None:
        entry = _entry(env_id, asked)
    env_kwargs = stored.env.env_kwargs if asked.env_kwargs is None else asked.env_kwargs
    env = EnvironmentSpec.of_entry(env_id, entry, env_kwargs)
    protocol = replace(stored.protocol, **_given(asked, _OF_PROTOCOL))
    if asked.space is not None:
        changed |= {"space": load_space(asked.space), "space_source": asked.space}
    if asked.tune is not None:
        changed["tune"] = list(asked.tune)
    if asked.seeds is not None:
        changed["seeds"] = list(range(asked.seeds))
    return replace(stored, env=env, entry=entry, protocol=protocol, **changed)


def _entry(env_id: str, asked: Asked) -> dict[str, Any]:
    """:return: the environment's zoo entry, with the changes that were asked for"""
    EnvironmentSpec(env_id).check()
    config = our_config() if asked.conf_file is None else Path(asked.conf_file)
    return {**load_entry(config, env_id.rpartition(":")[2]), **(asked.hyperparams or {})}


def _given(asked: Asked, names: Sequence[str]) -> dict[str, Any]:
    """:return: the values that were asked for, by name, without the names that were left out"""
    return {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}


def _built_in_space(env: EnvironmentSpec) -> str:
    """:return: name of the space for the environment's actions"""
    return "box" if isinstance(env.action_space(), spaces.Box) else "discrete"


def stored_settings(storage: optuna.storages.BaseStorage, name: str) -> Settings | None:
    """
    Find the settings of a study that may exist.

    :param storage: storage that may have the study
    :param name: name of the study
    :return: its settings, None if it is new, or if ``tune`` was killed before it recorded any
    :raises ValueError: if the study was not made by ``softac-tune``
    """
    if name not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(study_name=name, storage=storage)
    if not has_settings(study) and not study.get_trials(deepcopy=False):
        return None
    return settings_of(study)


def create_or_resume(storage: optuna.storages.BaseStorage, name: str, settings: Settings) -> optuna.Study:
    """
    Create a study, or resume it if it exists with the same settings.

    :param storage: storage that has the study, or shall have it
    :param name: name of the study
    :param settings: settings of the study
    :return: the study, with the base entry as its first trial
    :raises ValueError: if the study exists with other settings
    """
    stored = stored_settings(storage, name)
    if stored is not None:
        refuse_differences(stored, settings, name)
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    if stored is None:
        settings.record(study)
    _enqueue_baseline(study, settings)
    return study


def refuse_differences(stored: Settings, settings: Settings, name: str) -> None:
    """
    Compare the settings that were asked for with those of the study.

    :param stored: settings of the study
    :param settings: settings that were asked for
    :param name: name of the study
    :raises ValueError: if they are not the same
    """
    differences = stored.differences(settings)
    if differences:
        raise ValueError(
            f"Study {name!r} exists with other settings:\n  " + "\n  ".join(differences) + "\n"
            "Leave these options out to resume it, or choose another --study"
        )


def _enqueue_baseline(study: optuna.Study, settings: Settings) -> None:
    """Enqueue the base entry if that was not done, or again if it failed, since the cause may have been fixed."""
    known = [trial for trial in book_of(study).counted if trial.user_attrs.get(BASELINE)]
    failed = [trial for trial in known if trial.state == TrialState.FAIL]
    if not known or failed:
        params = settings.parsed_space().params_of(settings.base())
        again = {RETRY_OF: failed[0].number} if failed else {}
        study.enqueue_trial(params or {}, user_attrs={BASELINE: True, AS_IS: params is None, **again})


def smoke_test(settings: Settings) -> None:
    """
    Train for a step with the base entry, and make a few models of the space, so that what cannot work fails now.

    :param settings: settings to try
    :raises ValueError: with the reason
    """
    env = settings.env.make(settings.seeds[0])
    space, base = settings.parsed_space(), settings.base()
    proposals = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _model(base, env, "the base entry").learn(1)
            for _ in range(3):
                params = space.suggest(proposals.ask())
                _model(space.arguments(params, base), env, f"the parameters {params}")
    finally:
        env.close()


def _model(arguments: Mapping[str, Any], env: Any, what: str) -> SoftAC:
    """Make a model; if that fails, say what it was made with."""
    try:
        return SoftAC(**arguments, env=env, device="cpu")
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"SoftAC cannot be made with {what}: {error}") from error


def parse_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """
    Read the pairs of ``--hyperparams`` and ``--env-kwargs``.

    :param pairs: such as ``gravity:-9.0`` or ``net:[64, 64]``; a value that is not a Python literal is a string
    :return: keys and values
    :raises ValueError: if there is no colon
    """
    found = {}
    for pair in pairs:
        key, colon, text = pair.partition(":")
        if not colon or not key:
            raise ValueError(f"{pair!r} must be key:value, such as learning_starts:500")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            found[key] = text
    return found
