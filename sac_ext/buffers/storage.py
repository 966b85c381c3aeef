"""The transitions themselves, on one device: one row for each step of all environments.

``B`` entries asked for, ``E`` environments, ``L`` rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch as th

from sac_ext.buffers.frames import FrameStore
from sac_ext.buffers.layout import Layout, pair_names
from sac_ext.buffers.ring import Column, DeviceRing, Entries, HostRing, Live, Ring


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
        self.ring = self._ring(layout.columns, layout.length, layout.n_envs)
        self.frames: dict[str, FrameStore] = {}
        self._frame_fields: dict[int, FrameStore] = {}  # by the position of the observation among the fields
        for key, part in layout.parts.items():
            if part.stacking is not None:
                self.frames[key] = FrameStore(part.stacking, layout.length, layout.n_envs, self._ring)
                self._frame_fields[layout.fields.index(part.field)] = self.frames[key]

    def _ring(self, columns: Mapping[str, Column], length: int, width: int, by_env: bool = False) -> Ring:
        if self.device.type == "cpu":
            return HostRing(columns, length, width, by_env, self.pin)
        return DeviceRing(columns, length, width, by_env, self.device)

    def write(self, values: Sequence[Any]) -> None:
        """
        :param values: ``(E, ...)`` for each of the layout's ``fields``, then timeouts and notes
        :raises ValueError: if the layout cannot keep these observations; nothing has been written then
        """
        if self._frame_fields:
            values = self._write_frames(values)
        self.ring.write(self.count, values)
        self.count += 1

    def _write_frames(self, values: Sequence[Any]) -> list[Any]:
        """:return: the values that are not frames"""
        pairs = [
            (store, *(each.astype(store.stacking.column.dtype, copy=False) for each in values[place : place + 2]))
            for place, store in self._frame_fields.items()
        ]
        done = values[self.layout.done_place]
        words = [store.check(obs, next_obs, done) for store, obs, next_obs in pairs]
        for (store, obs, next_obs), checked in zip(pairs, words, strict=True):
            store.write(obs, next_obs, checked)
        return [
            value
            for place, value in enumerate(values)
            if place not in self._frame_fields and place - 1 not in self._frame_fields
        ]

    def step(self, name: str, entries: Entries) -> th.Tensor:
        """:return: ``(B, ...)`` entries of one of the layout's ``columns``"""
        return self.ring.gather(name, entries.flat)

    def observations(self, entries: Entries, last: Entries) -> tuple[dict[str, th.Tensor], dict[str, th.Tensor]]:
        """
        :param entries: those whose observations are returned
        :param last: those whose next observations are returned: the same, or later steps
        :return: ``(B, *shape)`` by key, observations and next observations
        """
        observations, next_observations = {}, {}
        for key in self.layout.parts:
            if key in self.frames:
                observations[key], next_observations[key] = self.frames[key].pairs(entries, last)
            else:
                name, next_name = pair_names(key)
                observations[key], next_observations[key] = self.step(name, entries), self.step(next_name, last)
        return observations, next_observations

    # ---------------------------------------------------------------- as a whole

    def stored(self, name: str) -> Any:
        """:return: ``(L, E, ...)`` one of the layout's ``columns``, a numpy array on the host, otherwise a tensor"""
        stored = self.ring.stored(name)
        return stored.numpy() if stored.device.type == "cpu" else stored

    def stored_observations(self, following: bool) -> dict[str, Any]:
        """
        :param following: whether to return the next observations
        :return: as ``stored``, by key
        :raises AttributeError: where frames are stored instead
        """
        if self.frames:
            raise AttributeError(
                "this replay buffer stores each frame once, not whole observations: use sample() to get observations"
            )
        return {key: self.stored(pair_names(key)[following]) for key in self.layout.parts}

    def observed(self) -> Iterator[th.Tensor | dict[str, th.Tensor]]:
        """:return: all observations that are kept, or the frames they are made of, in parts"""
        rows = self.live()
        for key in self.layout.parts:
            if key in self.frames:
                parts = [(live, "frames") for live in self.frames[key].live().values()]
            else:
                parts = [(rows["transitions"], name) for name in pair_names(key)]
            for live, name in parts:
                for slots in live.pieces():
                    observed = live.ring.stored(name)[slots]
                    yield {key: observed} if key else observed

    # ---------------------------------------------------------------- files

    def live(self) -> dict[str, Live]:
        """:return: by name, the rows that are needed for what can be drawn"""
        rows = {"transitions": Live(self.ring, max(0, self.count - self.layout.length), self.count)}
        for key, store in self.frames.items():
            name = "observations" + (f".{key}" if key else "")
            rows |= {f"{name}/{part}": live for part, live in store.live().items()}
        return rows

    def counters(self) -> dict[str, Any]:
        """:return: what ``restore`` needs besides the rows, of JSON types"""
        return {"count": self.count, "frames": {key: store.counters() for key, store in self.frames.items()}}

    def restore(self, counters: dict[str, Any]) -> None:
        """
        Set the counters, so that ``live`` names the slots of saved rows. The caller copies the rows there.

        :raises ValueError: if the counters belong to other observations
        """
        if counters["frames"].keys() != self.frames.keys():
            raise ValueError(
                f"the replay buffer's file stores frames for the keys {sorted(counters['frames'])}, expected "
                f"{sorted(self.frames)}"
            )
        self.count = counters["count"]
        for key, store in self.frames.items():
            store.restore(counters["frames"][key])
