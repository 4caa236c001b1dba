"""`raynas report`: everything about a run on one page."""

from pathlib import Path

from raynas.api.runs import kind_of
from raynas.errors import RunFolderError
from raynas.runs.folder import replace_file

NAME = "report.html"
"""What a report is called, unless told otherwise."""

_COMPARISON = "comparison.json"
"""File that tells the folder of a comparison from that of a run."""


def write_report(run: Path | str, out: Path | str | None = None) -> Path:
    """Write the report of a run as one HTML file that needs neither network nor script.

    Reads the folder only, so a run may be going on, or be another machine's. No code that its
    config names is imported.

    Args:
        run: The run folder of a search, a supernet run or a retraining, or the folder of a
            comparison.
        out: The file, or a folder for it (None: ``report.html`` in the run folder).

    Returns:
        The file.

    Raises:
        UsageError: the folder holds no run, a run without results, or one that cannot be read; the
            file cannot be written; or matplotlib (extra ``plot``) is not installed.
    """
    folder = Path(run)
    kind = "compare" if (folder / _COMPARISON).exists() else kind_of(folder)
    target = folder / NAME if out is None else Path(out)
    if target.is_dir():
        target = target / NAME
    from raynas.report.build import report_html

    html = report_html(folder, kind)
    try:
        replace_file(target, html.encode())
    except OSError as error:
        raise RunFolderError(f"{target}: cannot be written: {error.strerror}") from None
    return target
