"""How gradients become a step: by the optimizer itself, or by Adam as a function, which a graph can hold."""

from collections.abc import Callable, Sequence

import torch as th
from torch.optim.adam import adam

Optimizer = th.optim.Optimizer
Gradients = Sequence[th.Tensor | None]
Apply = Callable[[Optimizer, Gradients], None]


def trainable(optimizer: Optimizer) -> list[th.Tensor]:
    """:return: the parameters that are not frozen, in the optimizer's order"""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def own_step(optimizer: Optimizer, gradients: Gradients) -> None:
    """
    Whatever optimizer it is: the gradients are left in ``grad``, where its ``step()`` and users' callbacks find them.

    :param optimizer: any
    :param gradients: one for each of its trainable parameters, or None where the loss does not depend on it
    """
    optimizer.zero_grad()
    for parameter, gradient in zip(trainable(optimizer), gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def adam_step(optimizer: Optimizer, gradients: Gradients) -> None:
    """
    ``Adam.step()`` (Kingma & Ba 2015, arXiv:1412.6980) in torch's functional form, on the optimizer's own state:
    nothing waits for the device and nothing hinders a graph. The learning rate may be a tensor. ``grad`` stays.

    :param optimizer: one that :func:`obstacle` finds no fault with, after :func:`prepare`
    :param gradients: as for :func:`own_step`
    """
    remaining = iter(gradients)
    for group in optimizer.param_groups:
        pairs = [(p, next(remaining)) for p in group["params"] if p.requires_grad]
        with_gradient = [(p, g) for p, g in pairs if g is not None]
        if not with_gradient:
            continue
        states = [optimizer.state[p] for p, _ in with_gradient]
        never_waits = th.compiler.is_compiling() or with_gradient[0][0].is_cuda  # elsewhere torch has no such form
        # In single precision 1 - 0.999 ** step has but three digits at the first steps
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


def obstacle(optimizer: Optimizer) -> str | None:
    """:return: why :func:`adam_step` cannot stand in for its ``step()``, or None"""
    if type(optimizer) not in (th.optim.Adam, th.optim.AdamW):
        return f"the optimizer {type(optimizer).__name__} is neither Adam nor AdamW"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return f"the optimizer {type(optimizer).__name__} has hooks on its step"
    if any(group["differentiable"] for group in optimizer.param_groups):
        return f"the optimizer {type(optimizer).__name__} is differentiable"
    return None


def prepare(optimizer: Optimizer) -> None:
    """Give each parameter the state that ``Adam.step()`` would create at its first step, the counter on its device."""
    for group in optimizer.param_groups:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if "step" not in state:
                state["step"] = th.zeros((), dtype=th.float32, device=parameter.device)
            elif state["step"].device != parameter.device:
                state["step"] = state["step"].to(parameter.device)
            for name in names:
                if name not in state:
                    state[name] = th.zeros_like(parameter, memory_format=th.preserve_format)
