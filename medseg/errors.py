"""What can go wrong with a call or a run: bad input, an interruption, too little memory."""


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


class Interrupted(Exception):
    """The run was asked to end and saved itself; the command line turns it into exit code 75."""


class OutOfMemory(RuntimeError):
    """The run does not fit; the message says with numbers what would."""
