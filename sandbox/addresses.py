"""Addresses of databases and services: what is none, and another login in one."""

from urllib.parse import urlsplit, urlunsplit

from sandbox.errors import SandboxError


def check_address(name: str, value: str) -> None:
    """Raises SandboxError where the variable's value is no address; it is not repeated, a password may be in it."""
    schemes, example = ("http", "https"), "http://host:4200/api" if name == "PREFECT_API_URL" else "http://host:7001"
    if name == "DATABASE_URL":
        schemes, example = ("postgresql", "postgres"), "postgresql://user:password@host:5432/database"
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in schemes and bool(parts.netloc) and parts.port != 0
    except ValueError:  # a port that is none, also where a password's / ends the host too early
        is_one = False
    if not is_one:
        escapes = "; in a password / @ : # ? and % are written %2F %40 %3A %23 %3F %25" if "@" in example else ""
        raise SandboxError(f"{name} is not an address like {example}{escapes}.")


def with_login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{address}"))


def without_password(url: str) -> str:
    parts = urlsplit(url)
    login, at, address = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login.partition(':')[0]}{at}{address}"))
