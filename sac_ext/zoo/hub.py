"""Models on the Hugging Face hub: push_to_hub and load_from_hub."""

import importlib
from pprint import pformat
from typing import Any

from sac_ext.zoo.play import LOG_FOLDER
from sac_ext.zoo.registration import ALGO
from sac_ext.zoo.running import needs, run_script

_CARD = """
# **{name}** agent playing **{env_id}**

A trained model of **{name}** (package `sac-ext`) playing **{env_id}**.

## Usage

```bash
pip install "sac-ext[zoo]"
softac-zoo load_from_hub --env {env_id} -orga {organization} -f logs/
softac-zoo enjoy --env {env_id} -f logs/
```

or, without the zoo, `SoftAC.load("{algo}-{env_id}.zip")`.

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
    _name_what_was_renamed()
    folder = [] if any(option in ("-f", "--folder") for option in options) else ["-f", LOG_FOLDER]
    run_script("push_to_hub", "rl_zoo3.push_to_hub", [*folder, *options], generate_model_card=model_card)


def load_from_hub(options: list[str]) -> None:
    """
    ``rl_zoo3.load_from_hub``: a model of the hub as if it had been trained here.

    :param options: command-line options of ``rl_zoo3.load_from_hub``
    """
    needs("zoo", "huggingface_hub", "requests")
    run_script("load_from_hub", "rl_zoo3.load_from_hub", ["-f", LOG_FOLDER, *options])


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
    In the place of ``rl_zoo3.push_to_hub.generate_model_card``.

    :return: the card, and its metadata
    """
    hub = importlib.import_module("huggingface_sb3.push_to_hub")
    name = "SoftAC" if algo_name == ALGO else algo_class_name
    metadata = hub.generate_metadata(name, env_id, mean_reward, std_reward)
    card = _CARD.format(
        name=name, env_id=env_id, organization=organization, algo=algo_name, hyperparams=pformat(dict(hyperparams))
    )
    if env_kwargs:
        card += f"\n## Arguments of the environment\n\n```python\n{pformat(env_kwargs)}\n```\n"
    return card, metadata


def _name_what_was_renamed() -> None:
    """sb3-team-hf-integration 3.2 calls it ``_generate_metadata``, and rl_zoo3 2.9 does not know that."""
    hub: Any = importlib.import_module("huggingface_sb3.push_to_hub")
    if not hasattr(hub, "generate_metadata"):
        hub.generate_metadata = hub._generate_metadata
