"""`raynas report`: everything about a run on one page."""

from pathlib import Path

from raynas.api.runs import kind_of
from raynas.errors import RunFolderError, StorageError
from raynas.runs.folder import RunFolder, replace_file
from raynas.storage import Location, location

NAME = "report.html"
"""What a report is called, unless told otherwise."""

_COMPARISON = "comparison.json"
"""File that tells the folder of a comparison from that of a run."""


def write_report(run: Location | str, out: Location | str | None = None) -> Location:
    """Write the report of a run as one HTML file that needs neither network nor script.

    Reads the folder only, so a run may be going on, or be another machine's. No code that its
    config names is imported.

    Args:
        run: The run folder, or its URI, of a search, a supernet run or a retraining, or the folder
            of a comparison.
        out: The file, or a folder for it (None: ``report.html`` in the run folder).

    Returns:
        The file.

    Raises:
        UsageError: the folder holds no run, a run without results, or one that cannot be read; the
            file cannot be written; or matplotlib (extra ``plot``) is not installed.
    """
    where = location(run)
    # Comparisons are local folders (`raynas.api.compare`).
    comparison = where if isinstance(where, Path) and (where / _COMPARISON).exists() else None
    kind = None if comparison else kind_of(where)
    target = where / NAME if out is None else location(out)
    if target.is_dir():
        target = target / NAME
    from raynas.report.build import comparison_html, report_html

    html = comparison_html(comparison) if comparison else report_html(RunFolder(where, kind))
    try:
        replace_file(target, html.encode())
    except StorageError:
        raise
    except OSError as error:
        raise RunFolderError(f"{target}: cannot be written: {error.strerror}") from None
    return target
