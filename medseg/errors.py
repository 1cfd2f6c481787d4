"""The one error for bad input: what is wrong, expected, got, what to do."""


class InputError(ValueError):
    """Something the caller gave is wrong; the command line turns it into exit code 2.

    Args:
        what: what is wrong, in one short sentence.
        expected: what would have been right.
        got: what was found instead.
        do: the next step for the caller.
    """

    def __init__(self, what: str, *, expected: str, got: str, do: str):
        self.what, self.expected, self.got, self.do = what, expected, got, do
        super().__init__(f"{what}\n  expected: {expected}\n  got: {got}\n  what to do: {do}")
