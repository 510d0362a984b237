"""What it takes to reach a cluster, and the files that name it: the same files that `pvc connection` keeps.

`/etc/pvc/connections.toml` is for all users of a host, `~/.config/pvc/connections.toml` for one; what the second
says counts. They hold secrets.
"""

import dataclasses
import os
import pathlib
import typing

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    import tomli as tomllib

from pvc.errors import ConfigError

SYSTEM_FILE = pathlib.Path("/etc/pvc/connections.toml")


@dataclasses.dataclass
class Connection:
    """Addresses, and either certificates or a token with the cluster's CA."""

    # "host:port" of coordinators
    coordinators: typing.List[str]
    # PEM
    ca: bytes
    certificate: typing.Optional[bytes] = None
    key: typing.Optional[bytes] = dataclasses.field(default=None, repr=False)
    token: typing.Optional[str] = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        if isinstance(self.coordinators, str):
            raise ConfigError("the coordinators are a list of host:port, not one text")
        if not self.coordinators:
            raise ConfigError("the connection names no coordinator")
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("a certificate and its key go together")
        if self.certificate is None and not self.token:
            raise ConfigError("the connection has neither a certificate nor a token")

    @classmethod
    def of_files(cls, coordinators, ca, certificate=None, key=None, token=None):
        """Reads the PEM files."""
        files = [path and _read(path) for path in (ca, certificate, key)]
        return cls(coordinators, *files, token=token)

    @classmethod
    def of_entry(cls, entry):
        """Reads one entry of a connections file."""
        coordinators, token = entry.get("coordinators", []), entry.get("token")
        folder = entry.get("credentials")
        if folder is not None:
            folder = pathlib.Path(folder)
            return cls.of_files(coordinators, folder / "ca.pem", folder / "node.pem", folder / "node.key", token)
        texts = [entry.get(name) for name in ("ca_pem", "certificate_pem", "key_pem")]
        ca, certificate, key = [text and text.encode() for text in texts]
        if not ca or not (token or (certificate and key)):
            raise ConfigError("the connection has neither credentials nor a token with the CA's certificate")
        return cls(coordinators, ca, certificate, key, token)


def load(name=None):
    """The connection that is meant: by `name`, else by the variable PVC_CONNECTION, else the default, else the only
    one.
    """
    entries, default, closed = {}, None, ""
    for path in (SYSTEM_FILE, user_file()):
        try:
            content = _parse(path) if path else {}
        except PermissionError:
            # The host's file may be for root only: who has connections of their own does not need it.
            closed = f" ({path} may not be read)"
            continue
        entries.update(content.get("connections", {}))
        default = content.get("default", default)
    if not entries:
        raise ConfigError(f"there is no connection to a cluster{closed}; see `pvc connection add`")
    only = next(iter(entries)) if len(entries) == 1 else None
    name = name or os.environ.get("PVC_CONNECTION") or default or only
    known = ", ".join(sorted(entries))
    if name is None:
        raise ConfigError(f"no connection is the default; choose one of: {known}")
    if name not in entries:
        raise ConfigError(f'there is no connection "{name}"; there are: {known}')
    try:
        return Connection.of_entry(entries[name])
    except ConfigError as error:
        raise ConfigError(f"connection {name}: {error}") from error


def user_file():
    """The user's own file; None when the environment tells no home."""
    config, home = os.environ.get("XDG_CONFIG_HOME"), os.environ.get("HOME")
    if not config and not home:
        return None
    folder = pathlib.Path(config) if config else pathlib.Path(home) / ".config"
    return folder / "pvc" / "connections.toml"


def _read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"could not read {path}: {error.strerror}") from error


def _parse(path):
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise
    except OSError as error:
        raise ConfigError(f"could not read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a connections file: {error}") from error
