"""Operation by operation, as written."""

from typing import Any, ClassVar

from sac_ext.update import Measured, SoftUpdate


class Eager:
    """
    :param update: the gradient step
    """

    same_bits: ClassVar[bool] = True
    """Whether a step is what its operations give one by one, to the bit."""

    def __init__(self, update: SoftUpdate) -> None:
        self.update = update

    def refresh(self) -> None:
        """Before the steps of each ``train()``: take in what changed since."""

    def __call__(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        """See :meth:`SoftUpdate.__call__`."""
        return self.update(batch, update_actor, update_target)
