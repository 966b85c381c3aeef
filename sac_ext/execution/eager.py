"""Operation by operation, as written."""

from typing import Any, ClassVar

from sac_ext.update import Measured, SoftUpdate


class Eager:
    """
    :param update: the gradient step
    """

    same_bits: ClassVar[bool] = True
    """Whether a step gives, bit for bit, what its operations give one by one."""

    def __init__(self, update: SoftUpdate) -> None:
        self.update = update

    def refresh(self) -> None:
        """Called before the steps of each ``train()``, to take in what has changed since the last one."""

    def __call__(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        """See :meth:`SoftUpdate.__call__`."""
        return self.update(batch, update_actor, update_target)
