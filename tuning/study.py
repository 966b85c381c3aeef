"""Setting a study up: from what the user asks for to settings, their checks, and the first trial."""

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
"""Seeds of tuning are below the first, those of validation from there to the second."""


@dataclass(frozen=True)
class Asked:
    """What the user asked for; None for what was left out."""

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
    :param asked: by the user
    :param stored: what the study has already, which stands in for what was left out
    :return: settings
    :raises ValueError: for what does not exist, or does not go together
    """
    if asked.env is None and stored is None:
        raise ValueError("A new study needs an environment: --env CartPole-v1")
    env_id = asked.env if asked.env is not None else stored.env.env_id  # type: ignore[union-attr]
    if stored is not None and env_id == stored.env.env_id and asked.conf_file is None and asked.hyperparams is None:
        entry = stored.entry
    else:
        EnvironmentSpec(env_id).check()
        config = our_config() if asked.conf_file is None else Path(asked.conf_file)
        entry = {**load_entry(config, env_id.rpartition(":")[2]), **(asked.hyperparams or {})}
    stored_kwargs = {} if stored is None else stored.env.env_kwargs
    env = EnvironmentSpec.of_entry(env_id, entry, stored_kwargs if asked.env_kwargs is None else asked.env_kwargs)
    protocol = _protocol(asked, stored, entry, env_id)
    source, space = "the study's space", stored.space if stored is not None else {}
    if asked.space is not None or stored is None:
        source = asked.space or ("box" if isinstance(env.action_space(), spaces.Box) else "discrete")
        space = load_space(source)
    seeds = [0] if stored is None else stored.seeds
    if asked.seeds is not None:
        if not 1 <= asked.seeds <= FIRST_VALIDATION_SEED:
            raise ValueError(f"seeds must be between 1 and {FIRST_VALIDATION_SEED}, got {asked.seeds}")
        seeds = list(range(asked.seeds))
    given = {name: getattr(asked, name) for name in ("sampler", "sampler_seed", "pruner")}
    given = {name: value for name, value in given.items() if value is not None}
    tune = list(asked.tune) if asked.tune is not None else [] if stored is None else stored.tune
    if stored is not None:
        changed: dict[str, Any] = {
            "env": env,
            "entry": entry,
            "space": space,
            "tune": tune,
            "seeds": seeds,
            "protocol": protocol,
        }
        return replace(stored, **changed, space_source=source, **given)
    return Settings(env, entry, space, tune, seeds, protocol, space_source=source, **given)


def _protocol(asked: Asked, stored: Settings | None, entry: Mapping[str, Any], env_id: str) -> Protocol:
    given = {name: getattr(asked, name) for name in ("steps", "evaluations", "episodes", "metric")}
    given = {name: value for name, value in given.items() if value is not None}
    if stored is not None:
        return replace(stored.protocol, **given)
    if "steps" not in given:
        if "n_timesteps" not in entry:
            raise ValueError(f"The entry for {env_id} has no n_timesteps; say how long a run is: --steps 20000")
        given["steps"] = int(float(entry["n_timesteps"]))
    return Protocol(**given, deterministic=not is_stochastic(env_id))


def stored_settings(storage: optuna.storages.BaseStorage, name: str) -> Settings | None:
    """
    :param storage: where the study may be
    :param name: of the study
    :return: its settings, None if it is new, or was killed before it had any
    :raises ValueError: if it is a study of something else
    """
    if name not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(study_name=name, storage=storage)
    if not has_settings(study) and not study.get_trials(deepcopy=False):
        return None
    return settings_of(study)


def create_or_resume(storage: optuna.storages.BaseStorage, name: str, settings: Settings) -> optuna.Study:
    """
    :param storage: where the study is or shall be
    :param name: of the study
    :param settings: which it has, or gets
    :return: with the base entry as its first trial
    :raises ValueError: if it has other settings
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
    :param stored: in the study
    :param settings: asked for
    :param name: of the study
    :raises ValueError: if they are not the same
    """
    differences = stored.differences(settings)
    if differences:
        raise ValueError(
            f"Study {name!r} exists with other settings:\n  " + "\n  ".join(differences) + "\n"
            "Leave them out to go on with it, or choose another --study"
        )


def _enqueue_baseline(study: optuna.Study, settings: Settings) -> None:
    """If there is none, or if it has failed: whatever it was may have been mended."""
    known = [trial for trial in book_of(study).counted if trial.user_attrs.get(BASELINE)]
    failed = [trial for trial in known if trial.state == TrialState.FAIL]
    if not known or failed:
        params = settings.parsed_space().params_of(settings.base())
        again = {RETRY_OF: failed[0].number} if failed else {}
        study.enqueue_trial(params or {}, user_attrs={BASELINE: True, AS_IS: params is None, **again})


def smoke_test(settings: Settings) -> None:
    """
    Train for a step with the base entry, and build a few models of the space, so that what cannot work fails now.

    :param settings: to be tried
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
    try:
        return SoftAC(**arguments, env=env, device="cpu")
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"SoftAC cannot be made with {what}: {error}") from error


def parse_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """
    :param pairs: such as ``gravity:-9.0`` or ``net:[64, 64]``; a value that is no Python literal is a string
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
