"""Learning-rate schedules as factors of the base rate."""


def slanted_triangle(step: int, warmup_steps: int, steps: int) -> float:
    """Factor at a step counted from 0: linear up over the warm-up, then linear to 0 at the last step.

    The "slanted triangular" schedule of TransSeg, Table 6.

    >>> slanted_triangle(0, 20, 100), slanted_triangle(19, 20, 100), slanted_triangle(60, 20, 100)
    (0.05, 1.0, 0.5)
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return max(0.0, (steps - step) / max(1, steps - warmup_steps))
