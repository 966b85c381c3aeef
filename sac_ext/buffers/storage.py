"""The transitions themselves, on one device: one row for each step of all environments.

``B`` entries asked for, ``E`` environments, ``L`` rows.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch as th

from sac_ext.buffers.layout import Layout
from sac_ext.buffers.observations import Entries, Live, PairStore
from sac_ext.buffers.ring import Column, DeviceRing, HostRing, Ring

OBSERVED = {"observations", "next_observations", "frames"}  # columns


class Storage:
    """
    :param layout: what is kept
    :param device: where
    :param pin: on the host, gather into page-locked memory
    """

    def __init__(self, layout: Layout, device: th.device, pin: bool) -> None:
        self.layout = layout
        self.device = device
        self.pin = pin
        self.count = 0  # rows ever written
        self.stores = {key: part.store(layout.length, layout.n_envs, self._ring) for key, part in layout.parts.items()}
        self.steps = self._ring(layout.steps, layout.length, layout.n_envs)

    def _ring(self, columns: Mapping[str, Column], length: int, width: int) -> Ring:
        if self.device.type == "cpu":
            return HostRing(columns, length, width, self.pin)
        return DeviceRing(columns, length, width, self.device)

    def check(self, observations: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """
        :raises ValueError: if the layout cannot keep these observations and next observations
        """
        for key, (obs, next_obs) in observations.items():
            self.stores[key].check(self.layout.parts[key].field.name, obs, next_obs)

    def write(self, observations: dict[str, tuple[np.ndarray, np.ndarray]], steps: Mapping[str, Any]) -> None:
        """
        :param observations: ``(E, *shape)`` observation and next observation
        :param steps: ``(E, ...)`` for each of the layout's ``steps``
        """
        for key, (obs, next_obs) in observations.items():
            self.stores[key].write(obs, next_obs)
        self.steps.write(self.count, steps)
        self.count += 1

    def observations(self, entries: Entries) -> dict[str, th.Tensor]:
        """:return: ``(B, *shape)`` by key"""
        return {key: store.observations(entries) for key, store in self.stores.items()}

    def next_observations(self, entries: Entries) -> dict[str, th.Tensor]:
        """:return: ``(B, *shape)`` by key"""
        return {key: store.next_observations(entries) for key, store in self.stores.items()}

    def step(self, name: str, entries: Entries) -> th.Tensor:
        """:return: ``(B, ...)`` one of the layout's ``steps``"""
        return self.steps.gather(name, entries.flat)

    def stored_step(self, name: str) -> Any:
        """:return: ``(L, E, ...)`` the storage, a numpy array on the host, otherwise a tensor"""
        return _as_stored(self.steps, name)

    def stored_observations(self, name: str) -> dict[str, Any]:
        """
        :param name: ``"observations"`` or ``"next_observations"``
        :return: ``(L, E, *shape)`` by key, as ``stored_step``
        :raises AttributeError: where frames are stored instead
        """
        if not all(isinstance(store, PairStore) for store in self.stores.values()):
            raise AttributeError(f"{name} are not stored as such where each frame is stored once: use sample()")
        return {key: _as_stored(store.ring, name) for key, store in self.stores.items()}

    def observed(self) -> Iterator[th.Tensor | dict[str, th.Tensor]]:
        """:return: every observation that is kept, or the frames they are made of, in parts"""
        for key, store in self.stores.items():
            for _, live in store.live():
                for name in OBSERVED & live.ring.columns.keys():
                    stored = live.ring.stored(name)
                    yield from ({key: stored[slots]} if key else stored[slots] for slots in live.pieces())

    # ---------------------------------------------------------------- files

    def live(self) -> dict[str, Live]:
        """:return: by name, the rows that have to be kept for what can be drawn"""
        rows = {"steps": Live(self.steps, max(0, self.count - self.layout.length), self.count)}
        for key, store in self.stores.items():
            name = "observations" + (f".{key}" if key else "")
            rows |= {f"{name}/{part}": live for part, live in store.live()}
        return rows

    def counters(self) -> dict[str, Any]:
        """:return: what ``restore`` needs beside the rows, as JSON has it"""
        return {"count": self.count, "stores": {key: store.counters() for key, store in self.stores.items()}}

    def restore(self, counters: dict[str, Any]) -> None:
        """
        Make ``live`` say what it said where the counters come from, for the caller to put the rows back there.

        :raises ValueError: if they are of other observations
        """
        if counters["stores"].keys() != self.stores.keys():
            raise ValueError(
                f"the replay buffer's file has observations of the keys {sorted(counters['stores'])}, expected "
                f"{sorted(self.stores)}"
            )
        self.count = counters["count"]
        for key, store in self.stores.items():
            store.restore(counters["stores"][key])


def _as_stored(ring: Ring, name: str) -> Any:
    stored = ring.stored(name)
    return stored.numpy() if stored.device.type == "cpu" else stored
