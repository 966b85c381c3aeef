"""What the gradient steps of one ``train()`` measured: kept on the device, fetched together, averaged as SB3 does."""

from collections import defaultdict

import numpy as np
import torch as th

Metrics = dict[str, th.Tensor]  # name -> (), on the device

MAX_PENDING = 10_000


class MetricLog:
    """Collects the metrics of gradient steps, which need not all have the same ones."""

    def __init__(self) -> None:
        self.values: defaultdict[str, list[float]] = defaultdict(list)
        self._pending: list[tuple[str, th.Tensor]] = []

    def add(self, metrics: Metrics) -> None:
        """
        :param metrics: of one step
        """
        self._pending.extend(metrics.items())
        if len(self._pending) >= MAX_PENDING:  # a very long call must not fill the device's memory with scalars
            self.fetch()

    def fetch(self) -> None:
        """Copy what is still on the device to the host, in one transfer."""
        if self._pending:
            fetched = th.stack([value for _, value in self._pending]).cpu().double().numpy()
            for (name, _), value in zip(self._pending, fetched, strict=True):
                self.values[name].append(value)
            self._pending.clear()

    def means(self) -> dict[str, float]:
        """:return: means by name, in double precision over single-precision values, which gives SB3's digits"""
        self.fetch()
        return {name: float(np.mean(values)) for name, values in self.values.items()}
