"""Models on the Hugging Face hub: push_to_hub and load_from_hub."""

import contextlib
import importlib
import os
from collections.abc import Iterator
from pprint import pformat
from typing import Any

from sac_ext.zoo import masks, runs
from sac_ext.zoo.options import wants_help
from sac_ext.zoo.running import ALGO, in_one_line, needs, run_script
from sac_ext.zoo.runs import LOG_FOLDER

_OF_THE_HUB = ("huggingface_hub", "requests", "httpx", "httpx2")
"""Packages whose errors are about the hub or the connection to it."""

_CARD = """
# **{name}** agent playing **{env_id}**

A trained model of **{name}** (package `sac-ext`) playing **{env_id}**.

## Usage

A model is a pickle file, and loading it can run arbitrary code: set `TRUST_REMOTE_CODE=True` only if you trust it.

```bash
pip install "sac-ext[zoo]"
TRUST_REMOTE_CODE=True softac-zoo load_from_hub --env {env_id} -orga {organization} -f logs/
softac-zoo enjoy --env {env_id} -f logs/
```

or, without the zoo, `SoftAC.load("{file}")`.

## Training

```bash
softac-zoo train --env {env_id} -f logs/
softac-zoo push_to_hub --env {env_id} -f logs/ -orga {organization}
```

## Hyperparameters

```python
{hyperparams}
```
"""


def push_to_hub(options: list[str]) -> None:
    """
    ``rl_zoo3.push_to_hub`` with a trained SoftAC, and a model card with the commands of this package.

    :param options: command-line options of ``rl_zoo3.push_to_hub``
    """
    needs("zoo", "huggingface_hub", "requests", "moviepy")
    runs.check_model(options)
    _name_what_was_renamed()
    from rl_zoo3 import push_to_hub as zoo_push

    generate_model_card = zoo_push.generate_model_card

    def card_of(algo_name: str, *args: Any) -> tuple[str, dict[str, Any]]:
        if algo_name == ALGO:
            return model_card(algo_name, *args)
        return generate_model_card(algo_name, *args)  # type: ignore[no-any-return]

    with masks.in_what_is_played(zoo_push), _errors_of_the_hub_in_one_line():
        run_script("push_to_hub", zoo_push, ["-f", LOG_FOLDER, *options], generate_model_card=card_of)


def load_from_hub(options: list[str]) -> None:
    """
    ``rl_zoo3.load_from_hub``: loads a model of the hub as if it had been trained here.

    :param options: command-line options of ``rl_zoo3.load_from_hub``
    """
    needs("zoo", "huggingface_hub", "requests")
    if not wants_help(options) and os.environ.get("TRUST_REMOTE_CODE", "").lower() not in (
        "y",
        "yes",
        "t",
        "true",
        "on",
        "1",
    ):
        raise SystemExit(
            "A model from the hub is a pickle file, and loading it can run arbitrary code. If you trust its author, "
            "set the environment variable TRUST_REMOTE_CODE=True"
        )
    from huggingface_hub.errors import EntryNotFoundError
    from requests.exceptions import HTTPError
    from rl_zoo3 import load_from_hub as zoo_load

    # a model without VecNormalize has no statistics; huggingface_hub 2 raises no HTTPError of requests' for that
    absent = (HTTPError, EntryNotFoundError)
    with _errors_of_the_hub_in_one_line():
        run_script("load_from_hub", zoo_load, ["-f", LOG_FOLDER, *options], HTTPError=absent)


def model_card(
    algo_name: str,
    algo_class_name: str,
    organization: str,
    env_id: str,
    mean_reward: float,
    std_reward: float,
    hyperparams: dict[str, Any],
    env_kwargs: dict[str, Any],
) -> tuple[str, dict[str, Any]]:
    """
    Replaces ``rl_zoo3.push_to_hub.generate_model_card`` for SoftAC.

    :return: the card, and its metadata
    """
    from huggingface_sb3 import EnvironmentName, ModelName

    name = "SoftAC"
    hub = importlib.import_module("huggingface_sb3.push_to_hub")
    metadata = hub.generate_metadata(name, env_id, mean_reward, std_reward)
    file = ModelName(algo_name, EnvironmentName(env_id)).filename
    card = _CARD.format(
        name=name, env_id=env_id, organization=organization, file=file, hyperparams=pformat(dict(hyperparams))
    )
    if env_kwargs:
        card += f"\n## Arguments of the environment\n\n```python\n{pformat(env_kwargs)}\n```\n"
    return card, metadata


@contextlib.contextmanager
def _errors_of_the_hub_in_one_line() -> Iterator[None]:
    """Report errors such as no network, no such model or no write access in one line."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _OF_THE_HUB:
            raise
        raise SystemExit(f"The Hugging Face hub: {in_one_line(error)}") from error


def _name_what_was_renamed() -> None:
    """Restore the name that rl_zoo3 2.9 uses; sb3-team-hf-integration 3.2 calls it ``_generate_metadata``."""
    hub: Any = importlib.import_module("huggingface_sb3.push_to_hub")
    if not hasattr(hub, "generate_metadata"):
        hub.generate_metadata = hub._generate_metadata
