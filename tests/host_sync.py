"""Finds what makes the host wait for a device, without one."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero"}


class NoHostSync(TorchDispatchMode):
    """Refuses operations whose result, or its shape, the host has to know."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device"
        return function(*args, **kwargs or {})
