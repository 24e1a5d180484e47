"""The command line: the one place that joins everything.

``nas --help`` lists the commands. Nothing heavy is imported until a command needs it, so help
and reading results stay fast and need no torch.
"""

from nas.cli.boundary import main

__all__ = ["main"]
