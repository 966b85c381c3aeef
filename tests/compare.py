"""Equality of two trainings, bit for bit, and what a step of one computes."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback


class LogRecorder(BaseCallback):
    """Everything each ``train()`` logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        values = self.logger.name_to_value
        self.records.append({key: value for key, value in values.items() if key.startswith("train/")})


def assert_equal(expected: Any, actual: Any, where: str = "") -> None:
    """Same structure, and ``torch.equal`` at every tensor."""
    if isinstance(expected, th.Tensor):
        assert th.equal(expected, actual), where
    elif isinstance(expected, dict):
        assert expected.keys() == actual.keys(), where
        for key in expected:
            assert_equal(expected[key], actual[key], f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(expected) == len(actual), where
        for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
            assert_equal(left, right, f"{where}/{index}")
    else:
        assert expected == actual or (np.isnan(expected) and np.isnan(actual)), (where, expected, actual)


def assert_same_models(expected: BaseAlgorithm, actual: BaseAlgorithm) -> None:
    """Parameters, targets, optimizer states, coefficient and counters."""
    assert_equal(expected.get_parameters(), actual.get_parameters())
    for name in expected._get_torch_save_params()[1]:
        assert_equal(getattr(expected, name), getattr(actual, name), name)
    assert expected._n_updates == actual._n_updates
    assert expected.num_timesteps == actual.num_timesteps


def assert_same_logs(expected: LogRecorder, actual: LogRecorder) -> None:
    """Every value that the first logged was logged by the second; the second may have keys of its own."""
    assert len(expected.records) == len(actual.records)
    for left, right in zip(expected.records, actual.records, strict=True):
        assert_equal(left, {key: right[key] for key in left})


def td_target(model: Any, samples: Any, ent_coef: th.Tensor) -> th.Tensor:
    """``(B,)`` what the critics are trained to, for these transitions."""
    model._refresh_update()
    target: th.Tensor = model._update.td_target(samples, ent_coef)
    return target
