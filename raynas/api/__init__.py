"""The things raynas does, each as one function from a config (or objects) to a result.

Objects are passed; names exist only in configs. The command line calls nothing else.
"""

from raynas.api.diagnosing import diagnose
from raynas.api.exporting import export
from raynas.api.reporting import write_report
from raynas.api.retraining import resume_retrain, retrain
from raynas.api.runs import kind_of, resume, status
from raynas.api.searching import resume_search, search
from raynas.api.submitting import follow_job, submit
from raynas.api.supernets import resume_supernet, search_supernet
from raynas.api.tables import build_table, compare, describe_table, import_table

__all__ = [
    "build_table",
    "compare",
    "describe_table",
    "diagnose",
    "export",
    "follow_job",
    "import_table",
    "kind_of",
    "resume",
    "resume_retrain",
    "resume_search",
    "resume_supernet",
    "retrain",
    "search",
    "search_supernet",
    "status",
    "submit",
    "write_report",
]
