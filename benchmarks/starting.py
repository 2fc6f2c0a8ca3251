"""Measure what it takes to start: processor time of commands, and of the daemon until it is ready.

    python benchmarks/starting.py [RUNS] [TREE ...]

The commands show a store of fixtures/sample.mbox, which is made first. Each run starts every
command once, from each TREE in turn (default: this one), so that two versions are compared under
the same load. Figures are milliseconds of user and system time, as minimum and median of RUNS
(default: 7). Modules are loaded from their compiled form, as those that pip installs.
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATCH = "20260303101502.43309-3-mira@example.org"
COVER = "20260303101502.43309-1-mira@example.org"
COMMANDS = {
    "ingest --help": ["--help"],
    "ingest pipe --help": ["pipe", "--help"],
    "ingest series": ["series"],
    "ingest series KEY": ["series", COVER],
    "ingest show": ["show", PATCH],
    "ingest show --json": ["show", "--json", PATCH],
}
TICKS = os.sysconf("SC_CLK_TCK")


def environment(tree: Path, folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("INGEST_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | {"PYTHONPATH": str(tree), "INGEST_DATABASE": f"sqlite:///{folder}/ingest.db"}


def run(arguments: list[str], env: dict[str, str]) -> float:
    """Run a program to its end, and return its processor time in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], env=env, check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def serve(env: dict[str, str], folder: Path) -> float:
    """Start the daemon, and return the processor time of its processes when all are ready."""
    with tempfile.TemporaryDirectory(dir=folder) as name, socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM
    ) as notices:  # fmt: skip
        own = Path(name)
        notices.bind(str(own / "n"))
        notices.settimeout(120)
        (own / "c.toml").write_text(
            f'database = "sqlite:///{own}/i.db"\n[trust]\ndns = false\n'
            f'[serve]\nlmtp = ["unix:{own}/l"]\nmetrics = "127.0.0.1:0"\n'
            f'[api]\nlisten = "unix:{own}/a"\n'
        )
        arguments = [sys.executable, "-m", "ingest", "--config", str(own / "c.toml"), "serve"]
        with subprocess.Popen(
            arguments, env=env | {"NOTIFY_SOCKET": str(own / "n")}, stderr=subprocess.DEVNULL
        ) as daemon:
            try:
                while b"READY=1" not in notices.recv(4096):
                    pass
                time.sleep(2)  # the jobs are ready before their workers
                return 1000 * sum(seconds_of(process) for process in family(daemon.pid))
            finally:
                daemon.terminate()


def family(process: int) -> Iterator[int]:
    """Yield a process and all that it has started."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def seconds_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    trees = [Path(tree).resolve() for tree in sys.argv[2:]] or [ROOT]
    found: dict[tuple[str, Path], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(["-m", "ingest", "replay", "-q", str(ROOT / "fixtures/sample.mbox")],
            environment(trees[0], folder))  # fmt: skip
        for _ in range(runs + 1):
            for tree in trees:
                env = environment(tree, folder)
                figures = {"python -c pass": run(["-c", "pass"], env)}
                for what, words in COMMANDS.items():
                    program = str(tree / "ingest/__main__.py")
                    figures[what] = run(["-P", program, *words], env)
                figures["ingest serve, until ready"] = serve(env, folder)
                for what, figure in figures.items():
                    found.setdefault((what, tree), []).append(figure)
    for (what, tree), all_figures in found.items():
        figures_after_first = all_figures[1:]  # the first run compiles modules
        least, median = min(figures_after_first), statistics.median(figures_after_first)
        print(f"{what:26} {least:6.0f} {median:6.0f}  {tree}")


if __name__ == "__main__":
    main()
