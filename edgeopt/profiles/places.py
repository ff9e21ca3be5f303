"""Where edgeopt keeps its files on this computer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

HOME_VARIABLE = "EDGEOPT_HOME"


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Three folders by how dear their content is: `config` the user wrote, `data` was measured, `cache` can be made again."""

    config: Path
    data: Path
    cache: Path

    @property
    def inventory(self) -> Path:
        """The user's devices."""
        return self.config / "devices.toml"

    @property
    def profiles(self) -> Path:
        """The user's own profiles; they override the built-in ones."""
        return self.config / "profiles"

    @property
    def known_hosts(self) -> Path:
        """Host keys that the user trusted through edgeopt, in OpenSSH's format."""
        return self.config / "known_hosts"

    @property
    def runs(self) -> Path:
        """Raw runs, one JSON file each."""
        return self.data / "runs"

    @property
    def database_url(self) -> str:
        """The default index of the runs, as an SQLAlchemy URL."""
        return f"sqlite:///{self.data / 'runs.sqlite'}"

    @property
    def blobs(self) -> Path:
        """Content by digest: built variants."""
        return self.cache / "blobs"

    @property
    def wheels(self) -> Path:
        """Runtime wheels fetched for boards."""
        return self.cache / "wheels"


def find_places(environment: Mapping[str, str] | None = None) -> Places:
    """The platform's usual folders, or those under `EDGEOPT_HOME` when it is set. Nothing is created."""
    home = (os.environ if environment is None else environment).get(HOME_VARIABLE)
    if home:
        base = Path(home).expanduser().absolute()
        return Places(config=base / "config", data=base / "data", cache=base / "cache")
    import platformdirs

    return Places(
        config=platformdirs.user_config_path("edgeopt"),
        data=platformdirs.user_data_path("edgeopt"),
        cache=platformdirs.user_cache_path("edgeopt"),
    )
