"""Commands whose packages come with an extra say so where it was not installed."""

from importlib.util import find_spec

from medmtl.errors import Code, UsageError


def need_pacs() -> None:
    """Refuses where the packages of the extra `pacs` are absent.

    Raises:
        UsageError: `extra-missing`.
    """
    missing = [name for name in ("pynetdicom", "dicomweb_client") if find_spec(name) is None]
    if missing:
        what = f"this command needs {' and '.join(missing)}"
        raise UsageError(Code.EXTRA_MISSING, what, "install the extra: pip install 'medmtl[pacs]'")
