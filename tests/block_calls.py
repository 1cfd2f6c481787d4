"""How often blocks run in a step: twice where their activations are computed again going back."""


def block_calls(blocks, step):
    """Calls of each block while `step()` runs, and what it returns."""
    calls = [0] * len(blocks)

    def count(number):
        calls[number] += 1

    handles = [
        block.register_forward_pre_hook(lambda *_, number=number: count(number))
        for number, block in enumerate(blocks)
    ]
    found = step()
    for handle in handles:
        handle.remove()
    return calls, found


def check_recomputed(blocks, step, recompute, frozen=False):
    """What `step()` returns before and after `recompute()`: then blocks run twice.

    In a frozen network the first ones may still run once: nothing is kept of a block where nothing up to it
    has a gradient.
    """
    once, plain = block_calls(blocks, step)
    recompute()
    calls, again = block_calls(blocks, step)
    doubled = [after == 2 * before for before, after in zip(once, calls, strict=True)]
    assert any(once) and doubled[-1] and doubled == sorted(doubled), (once, calls)
    assert frozen or all(doubled), (once, calls)
    return plain, again
