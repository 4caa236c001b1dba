"""What stores say when something fails, in one line that says what to do about it.

pyarrow raises `OSError` with the store's own words in it; which words mean what is all in here.
"""

from urllib.parse import urlsplit

from raynas.errors import StorageError

HINTS = {
    "s3": "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from ~/.aws, or from "
    "the machine's role, on every node",
    "gs": "credentials come from GOOGLE_APPLICATION_CREDENTIALS, or from the machine's account",
    "abfs": "credentials come from AZURE_CLIENT_ID and the like, or from the machine's identity",
}
"""Where a scheme's credentials come from."""

MISSING_BUCKET = ("NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND", "bucket does not exist", "NoSuchBucket")
"""Words of a store that has no such bucket."""

_FORBIDDEN = (
    "ACCESS_DENIED",
    "Forbidden",
    "HTTP status 401",
    "HTTP status 403",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
    "INVALID_CLIENT_TOKEN_ID",
    "EXPIRED_TOKEN",
    "PERMISSION_DENIED",
    "Permission denied",
)
_UNREACHABLE = ("NETWORK_CONNECTION", "Could not resolve", "Couldn't resolve", "Connection refused")


def translated(error: OSError, verb: str, place: str) -> StorageError:
    """Return an error as one line that says what a user can do.

    Args:
        error: As pyarrow raised it.
        verb: What was tried: "read", "write".
        place: The URI.
    """
    text = one_line(error)
    scheme = urlsplit(place).scheme
    if any(sign in text for sign in MISSING_BUCKET):
        bucket = urlsplit(place).netloc
        return StorageError(f"{place}: there is no bucket {bucket!r}; make it first")
    if isinstance(error, PermissionError) or any(sign in text for sign in _FORBIDDEN):
        hint = next((h for name, h in HINTS.items() if scheme.startswith(name)), "")
        return StorageError(f"{place}: no permission to {verb} it" + (f" ({hint})" if hint else ""))
    if any(sign in text for sign in _UNREACHABLE):
        return StorageError(f"{place}: cannot be reached: {text}", may_pass=True)
    return StorageError(f"{place}: cannot {verb} it: {text}", may_pass=True)


def one_line(error: Exception) -> str:
    """Return what an error says without line breaks, cut at 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
