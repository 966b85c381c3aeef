"""What ``add`` takes for one column: shapes and types that mean the same, and error messages for others."""

from typing import Any

import numpy as np

from sac_ext.buffers.ring import Column


class Field:
    """
    :param name: for the error
    :param column: one entry, as it is stored
    :param n_envs: E
    :param shape: of one entry in the space, if that differs from how it is stored
    """

    def __init__(self, name: str, column: Column, n_envs: int, shape: tuple[int, ...] | None = None) -> None:
        self.name = name
        self.dtype = column.dtype
        self.shape = (n_envs, *column.shape)
        entries = {column.shape, column.shape if shape is None else shape}
        self._shapes = {(n_envs, *entry) for entry in entries} | (entries if n_envs == 1 else set())
        self.usual = column.dtype  # the last dtype accepted, probably that of the next value

    def __call__(self, value: Any) -> np.ndarray:
        """
        :param value: one entry per environment; with a single environment, also the entry alone
        :return: ``(E, *shape)``
        :raises ValueError: if it has another shape
        :raises TypeError: if it has a type of another kind than the stored one, such as floats for integers
        """
        array = np.asarray(value)
        if array.dtype is not self.usual:
            self._check(array.dtype)
        if array.shape == self.shape:
            return array
        if array.shape not in self._shapes:
            raise ValueError(
                f"{self.name} has shape {array.shape}, expected {self.shape}: one entry for each of the "
                f"{self.shape[0]} environments of this replay buffer"
            )
        return array.reshape(self.shape)

    def _check(self, dtype: np.dtype[Any]) -> None:
        integers = dtype.kind in "iu" and self.dtype.kind in "iu"
        if not integers and not np.can_cast(dtype, self.dtype, "same_kind"):
            raise TypeError(
                f"{self.name} has dtype {dtype}, expected {self.dtype} or one of the same kind: convert it, or "
                "declare the environment's space with the dtype of the values it returns"
            )
        self.usual = dtype
