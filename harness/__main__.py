"""`python -m prong.harness` is the command `prong`."""

from prong.harness.cli.command import main

if __name__ == "__main__":
    main(prog_name="prong")
