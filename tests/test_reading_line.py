"""The line that says how far the reading of a large run is."""

import io

from nas.cli.reading import reading_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is_and_keeps_nothing() -> None:
    terminal = Terminal()
    show = reading_line(terminal)
    assert show is not None
    show("curves", 2500, 100_000)
    assert terminal.getvalue() == "\rreading curves: 2,500 of 100,000 trials\x1b[K"
    show("curves", 100_000, 100_000)
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_nothing_is_written_to_a_file() -> None:
    assert reading_line(io.StringIO()) is None
