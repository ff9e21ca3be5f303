"""How fast does edgeopt send a file, compared with scp?

    python benchmarks/upload.py [--size-mb 64] [--pairs 7] [--rtt-ms 40] [--json FILE] [--with-sftp]

One file, one OpenSSH server on this machine's loopback, directly and through a proxy that adds a round-trip time. Both connect anew for each upload, as a user's command
would; the time runs from before the connection to after its end. The two take turns, in changing order, so that whatever else this machine does hits both; the figure to look
at is the ratio within each pair: above 1 edgeopt is faster. `--with-sftp` also times paramiko's pipelined SFTP, the other way that edgeopt could have gone.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeopt.transport.open import open_link
from tests.proxy import Proxy
from tests.sshd import Sshd, known_hosts_line, start_sshd

LIMIT_S = 60.0


@dataclass
class Row:
    """One network: medians in MB/s (10^6 bytes), and edgeopt's rate over scp's within pairs."""

    network: str
    pairs: int
    mb_per_s: dict[str, float]
    ratio_median: float
    ratio_quartiles: tuple[float, float]
    ratio_range: tuple[float, float]


class Uploads:
    """The contenders, all for the same file, server and port."""

    def __init__(self, server: Sshd, port: int, source: Path) -> None:
        self._server = server
        self._port = port
        self._source = source
        self._target = server.folder / "uploaded"
        self._known_hosts = server.folder / f"known_hosts.{port}"
        self._known_hosts.write_text(known_hosts_line(f"[127.0.0.1]:{port}", server.host_keys["ed25519"]))

    def edgeopt(self) -> None:
        link = open_link(f"ssh://127.0.0.1:{self._port}", known_hosts=self._known_hosts, identity=self._server.identity)
        with contextlib.closing(link):
            link.put(self._source, str(self._target))

    def scp(self) -> None:
        options = ("IdentitiesOnly=yes", "BatchMode=yes", f"UserKnownHostsFile={self._known_hosts}")
        flags = [word for option in options for word in ("-o", option)]
        target = f"{getpass.getuser()}@127.0.0.1:{self._target}"
        argv = ["scp", "-q", "-F", "none", "-P", str(self._port), "-i", str(self._server.identity), *flags]
        subprocess.run([*argv, str(self._source), target], check=True)

    def sftp(self) -> None:
        import paramiko

        with contextlib.closing(paramiko.SSHClient()) as client:
            client.load_host_keys(str(self._known_hosts))
            client.connect(
                "127.0.0.1",
                self._port,
                getpass.getuser(),
                key_filename=str(self._server.identity),
                allow_agent=False,
                look_for_keys=False,
            )
            client.open_sftp().put(str(self._source), str(self._target))

    def time_s(self, upload: Callable[[], None]) -> float:
        """Time one upload and check that it arrived."""
        self._target.unlink(missing_ok=True)
        begin = time.perf_counter()
        upload()
        taken_s = time.perf_counter() - begin
        if self._target.stat().st_size != self._source.stat().st_size:
            sys.exit("an upload did not arrive")
        return taken_s


def compare(network: str, uploads: Uploads, size: int, wanted: int, ways: Sequence[str], end: float) -> Row:
    """Time pairs until there are enough or the time is up; the first of each way warms caches and does not count."""
    for way in ways:
        uploads.time_s(getattr(uploads, way))
    rates: dict[str, list[float]] = {way: [] for way in ways}
    while len(rates["scp"]) < wanted and (len(rates["scp"]) < 3 or time.monotonic() < end):
        for way in random.sample(list(ways), len(ways)):
            rates[way].append(size / uploads.time_s(getattr(uploads, way)) / 1e6)
    ratios = sorted(ours / theirs for ours, theirs in zip(rates["edgeopt"], rates["scp"], strict=True))
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Row(
        network=network,
        pairs=len(ratios),
        mb_per_s={way: statistics.median(found) for way, found in rates.items()},
        ratio_median=statistics.median(ratios),
        ratio_quartiles=(low, high),
        ratio_range=(ratios[0], ratios[-1]),
    )


def measure(size: int, pairs: int, rtt_ms: float, ways: Sequence[str]) -> list[Row]:
    """Time both networks in at most LIMIT_S or so."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        source.write_bytes(os.urandom(size))
        server = start_sshd(folder / "sshd")
        try:
            direct = compare("loopback", Uploads(server, server.port, source), size, pairs, ways, begin + LIMIT_S / 3)
            with Proxy("127.0.0.1", server.port, rtt_s=rtt_ms / 1000) as proxy:
                uploads = Uploads(server, proxy.port, source)
                slow = compare(f"{rtt_ms:g} ms RTT", uploads, size, pairs, ways, begin + LIMIT_S)
        finally:
            server.stop()
    return [direct, slow]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mb", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--rtt-ms", type=float, default=40.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--with-sftp", action="store_true")
    args = parser.parse_args()
    ways = ("edgeopt", "scp", "sftp") if args.with_sftp else ("edgeopt", "scp")
    rows = measure(args.size_mb * 1_000_000, args.pairs, args.rtt_ms, ways)
    print(f"{args.size_mb} MB, median MB/s, connection included; load of this machine {os.getloadavg()[0]:.1f}")
    print(f"{'network':<12}" + "".join(f"{way:>9}" for way in ways) + "   edgeopt/scp  quartiles    range        pairs")
    for row in rows:
        rates = "".join(f"{row.mb_per_s[way]:>9.1f}" for way in ways)
        spread = "{:.2f}-{:.2f}    {:.2f}-{:.2f}".format(*row.ratio_quartiles, *row.ratio_range)
        print(f"{row.network:<12}{rates}   {row.ratio_median:>11.2f}  {spread}    {row.pairs:>5}")
    if args.json:
        args.json.write_text(
            json.dumps(
                {"schema": 1, "size_bytes": args.size_mb * 1_000_000, "rows": [asdict(r) for r in rows]}, indent=2
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
