"""How an optimizer takes a step on a loss: by its own ``step()``, or by Adam as a function, which a graph can hold."""

from collections.abc import Callable, Sequence

import torch as th
from torch import nn
from torch.optim.adam import adam
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

Optimizer = th.optim.Optimizer
Descend = Callable[[th.Tensor, Optimizer, float | None], None]


def trainable(optimizer: Optimizer) -> list[th.Tensor]:
    """:return: the parameters that are not frozen, in the optimizer's order"""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def by_own_step(loss: th.Tensor, optimizer: Optimizer, max_grad_norm: float | None) -> None:
    """
    For any optimizer: gradients are left in ``grad``, where its ``step()`` and users' callbacks find them.

    :param loss: ``()``
    :param optimizer: gradients are computed for its own parameters and for no others
    :param max_grad_norm: gradients are clipped to this norm, or None
    """
    optimizer.zero_grad()
    if parameters := trainable(optimizer):
        loss.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    optimizer.step()


def by_adam(loss: th.Tensor, optimizer: Optimizer, max_grad_norm: float | None) -> None:
    """
    ``Adam.step()`` (Kingma & Ba 2015, arXiv:1412.6980) in torch's functional form, on the optimizer's own state:
    it never waits for the device, and a graph can hold it. The learning rate may be a tensor. ``grad`` stays as it is.

    :param loss: ``()``
    :param optimizer: one for which :func:`why_not_by_adam` returns None, after :func:`prepare`
    :param max_grad_norm: as for :func:`by_own_step`
    """
    parameters = trainable(optimizer)
    gradients: Sequence[th.Tensor | None] = ()
    if parameters:
        gradients = th.autograd.grad(loss, parameters, allow_unused=True)
    if max_grad_norm is not None:
        gradients = _clip(gradients, max_grad_norm)
    remaining = iter(gradients)
    for group in optimizer.param_groups:
        pairs = [(p, next(remaining)) for p in group["params"] if p.requires_grad]
        with_gradient = [(p, g) for p, g in pairs if g is not None]
        if not with_gradient:
            continue
        states = [optimizer.state[p] for p, _ in with_gradient]
        never_waits = th.compiler.is_compiling() or with_gradient[0][0].is_cuda  # torch lacks this form elsewhere
        # In single precision, 1 - 0.999 ** step has only three digits at the first steps
        steps = [state["step"].double() for state in states]
        with th.no_grad():
            adam(
                [p for p, _ in with_gradient],
                [g for _, g in with_gradient],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
                steps,
                foreach=never_waits,
                capturable=never_waits,
                decoupled_weight_decay=group.get("decoupled_weight_decay", False),
                amsgrad=group["amsgrad"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=group["maximize"],
            )
            for state, step in zip(states, steps, strict=True):
                state["step"].copy_(step)


def _clip(gradients: Sequence[th.Tensor | None], max_norm: float) -> list[th.Tensor | None]:
    """``torch.nn.utils.clip_grad_norm_`` for gradients that are not in ``grad``."""
    norm = nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return [None if gradient is None else gradient * scale for gradient in gradients]


def why_not_by_adam(optimizer: Optimizer) -> str | None:
    """:return: why :func:`by_adam` cannot replace its ``step()``, or None if it can"""
    if type(optimizer) not in (th.optim.Adam, th.optim.AdamW):
        return f"the optimizer {type(optimizer).__name__} is neither Adam nor AdamW"
    own_hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if own_hooks or _global_optimizer_pre_hooks or _global_optimizer_post_hooks:
        return f"the optimizer {type(optimizer).__name__} has hooks on its step"
    own_step = vars(optimizer).get("step")
    if own_step is not None and not hasattr(own_step, "_wrapped_by_lr_sched"):
        return f"the optimizer {type(optimizer).__name__} has a step() that replaces its class's"
    if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in trainable(optimizer)):
        return "parameters have hooks on their gradients"
    if any(group["differentiable"] for group in optimizer.param_groups):
        return f"the optimizer {type(optimizer).__name__} has differentiable=True"
    return None


def prepare(optimizer: Optimizer) -> None:
    """Give each parameter the state that ``Adam.step()`` would create first, with the step counter on its device."""
    for group in optimizer.param_groups:
        names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
        for parameter in filter(lambda p: p.requires_grad, group["params"]):
            state = optimizer.state[parameter]
            if "step" not in state:
                state["step"] = th.zeros((), dtype=th.float32, device=parameter.device)
            elif state["step"].device != parameter.device:
                state["step"] = state["step"].to(parameter.device)
            for name in names:
                if name not in state:
                    state[name] = th.zeros_like(parameter, memory_format=th.preserve_format)
