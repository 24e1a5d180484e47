"""Where the command line starts, and the one place where its errors end.

A user error (a wrong option, ``ValueError``, a path that cannot be read or written) becomes one
line on stderr and exit code 2; any other failure one line and exit code 1; an interrupt exit
code 130. ``--debug``, anywhere on the line, shows the traceback as well.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence

USER_ERRNOS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EFBIG,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What the user's own paths and disks cause; other errors of the system are failures."""


LONGEST_LINE = 1_000
"""Letters of an error's line: what is longer is shown without its middle."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: the words after ``nas``; those of the process by default.
    """
    from nas.cli.application import create_app

    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"] or ["--help"]
    try:
        code = create_app()(words, prog_name="nas", standalone_mode=False)
    except BrokenPipeError:
        # The reader (`head`, `less`) has gone: nothing is left to say, nobody to say it to.
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - the boundary: everything becomes a line and a code
        if debug:
            traceback.print_exc()
        print(f"error: {_line(error)}", file=sys.stderr)
        return exit_code(error)
    return code if isinstance(code, int) else 0


def exit_code(error: Exception) -> int:
    """2 for what the user can put right (usage, input, paths, disks), 1 for a failure."""
    if _is_usage(error) or isinstance(error, ValueError):
        return 2
    if isinstance(error, FileNotFoundError | PermissionError):
        return 2  # libraries raise these without a number
    if isinstance(error, OSError) and error.errno in USER_ERRNOS:
        return 2
    return 1


def _is_usage(error: Exception) -> bool:
    # Typer's usage errors: their base class has moved between its versions, this method has not.
    return hasattr(error, "format_message")


def _is_ours(error: Exception) -> bool:
    # A training or a proof that failed: a result in one line, not a bug to be traced.
    return type(error).__module__.startswith("nas.")


def _line(error: Exception) -> str:
    if _is_usage(error):
        text = _usage_text(error)
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        # The system's words begin with a capital; our own may hold names, which keep theirs.
        text = f"{where}{error.strerror[:1].lower()}{error.strerror[1:]}"
    elif isinstance(error, ValueError | OSError) or _is_ours(error):
        text = str(error) or type(error).__name__
    else:
        text = f"{type(error).__name__}: {error} (--debug shows where)"
    text = " ".join(text.split())
    if len(text) > LONGEST_LINE:
        # What was typed may be of any length; the rule stands at the end of most messages.
        text = f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 2 :]}"
    return text


def _usage_text(error: Exception) -> str:
    text = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    text = text[:1].lower() + text[1:]
    context = getattr(error, "ctx", None)
    return f"{text} (see {context.command_path} --help)" if context is not None else text
