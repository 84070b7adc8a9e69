"""Between the command line and the stages: configs, what they may hold, what they describe."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import TracebackType


def _plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Says in one line that Ctrl-C came while a program was still importing what it needs."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted; the same command goes on where this one stopped\n")
    else:
        sys.__excepthook__(kind, error, trace)


# not in a notebook: `python -m wsdet.PROGRAM`, or the command `wsdet`
_spec = getattr(sys.modules.get("__main__"), "__spec__", None)
_is_command = Path(sys.argv[0]).stem == "wsdet"
if (_spec and _spec.name.startswith("wsdet.")) or _is_command:
    sys.excepthook = _plainly
    _asks_for_help = {"-h", "--help", "help"} & set(sys.argv) or (_is_command and len(sys.argv) == 1)
    # help may end with its reader, as in `wsdet --help | head`; a run does not
    if _asks_for_help and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
