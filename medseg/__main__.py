"""`python -m medseg`, and with it `torchrun -m medseg`: the command line."""

from medseg.cli import main

if __name__ == "__main__":
    main()
