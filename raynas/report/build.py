"""From a run folder to its report, whatever kind of run it holds."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from raynas.report.compare_report import comparison_page, read_comparison
from raynas.report.diagnostics_section import diagnostics_sections
from raynas.report.page import Page, Section, render
from raynas.report.palette import new_figure
from raynas.report.provenance import STATES, provenance
from raynas.report.retrain_report import read_retrain, retrain_sections, retrain_summary
from raynas.report.search_data import read_search
from raynas.report.search_report import search_sections, search_summary
from raynas.report.supernet_data import read_supernet
from raynas.report.supernet_report import supernet_sections, supernet_summary
from raynas.runs.folder import RunFolder

_KINDS = {"search": "Search", "supernet": "Supernet", "retrain": "Retraining"}


def report_html(folder: RunFolder) -> str:
    """Return the report of a run as one HTML file.

    Args:
        folder: The run folder, of a known kind (``search``, ``supernet`` or ``retrain``).

    Raises:
        RunFolderError: it holds no such run, one without results, or one that cannot be read.
        UsageError: matplotlib is not installed.
    """
    new_figure(1, 1)  # before anything is read: without matplotlib there is no report
    kind = str(folder.kind)
    manifest: Mapping[str, Any] = folder.read_manifest()
    summary, sections = _contents(folder, kind)
    finished = bool(manifest.get("finished"))
    state = "running" if folder.is_locked() else "done" if finished else "interrupted"
    page = Page(
        kind=_KINDS[kind],
        title=folder.location.resolve().name,
        state=state,
        summary=STATES.get(state, "") + summary,
        sections=[*sections, *diagnostics_sections(folder.path), provenance(folder, manifest)],
        footer=_footer(),
    )
    return render(page)


def comparison_html(folder: Path) -> str:
    """Return the report of a comparison as one HTML file.

    Args:
        folder: Where it is.

    Raises:
        RunFolderError: it has not ended, or a file cannot be read.
        UsageError: matplotlib is not installed.
    """
    new_figure(1, 1)
    return render(comparison_page(read_comparison(folder), _footer()))


def _footer() -> str:
    return f"Written by raynas {version('raynas')} from the files of the run folder."


def _contents(folder: RunFolder, kind: str) -> tuple[str, list[Section]]:
    """Return a summary and the sections that are the kind's own."""
    if kind == "search":
        search = read_search(folder)
        return search_summary(search), search_sections(search)
    if kind == "supernet":
        supernet = read_supernet(folder)
        return supernet_summary(supernet), supernet_sections(supernet)
    retrain = read_retrain(folder)
    return retrain_summary(retrain), retrain_sections(retrain)
