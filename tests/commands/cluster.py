"""A SLURM cluster of two nodes on this machine, for the tests of what runs on one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import without_data

PACKAGES = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}

CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
KillWait=1
MinJobAge=300
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus}
PartitionName=lab Nodes=n1,n2 Default=YES State=UP
"""


def missing() -> str:
    """The Debian packages that are needed and not here."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return " ".join(
        sorted({package for name, package in PACKAGES.items() if not shutil.which(name, path=path)})
    )


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [server.getsockname()[1] for server in servers]


class Cluster:
    """Commands of SLURM, with the cluster's own configuration."""

    def __init__(self, folder: Path) -> None:
        self.env = without_data() | {"SLURM_CONF": str(folder / "slurm.conf")}
        self.env["PATH"] += ":/usr/sbin"

    def run(self, *args: object, cwd: Path | None = None, **variables: str) -> str:
        """Run a command that must succeed. Returns: what it printed."""
        result = subprocess.run(
            [*map(str, args)], cwd=cwd, env=self.env | variables, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def submit(self, *args: object, cwd: Path, **variables: str) -> str:
        """Submit a job. Returns: its id."""
        return self.run("sbatch", "--parsable", *args, cwd=cwd, **variables).strip()

    def states(self, job: str) -> dict[str, str]:
        """The state of a job's tasks, or of the job, by their ids."""
        lines = self.run(
            "squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%i %T %r %N"
        )
        return {line.split()[0]: line.split()[1] for line in lines.splitlines()}

    def wait(self, job: str, timeout: float = 240) -> None:
        """Wait until a job has ended, all of it without an error."""
        end = time.monotonic() + timeout
        while set(self.states(job).values()) != {"COMPLETED"}:
            states = self.states(job)
            assert time.monotonic() < end, states
            assert not set(states.values()) & {"FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"}, states
            time.sleep(0.2)


@pytest.fixture(scope="module", name="cluster")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of the nodes n1 and n2."""
    if missing():
        pytest.skip(f"needs Debian's {missing()}: bash scripts/debian_packages.sh")
    if os.geteuid() != 0:
        pytest.skip("needs root, which SLURM's daemons run as here")
    folder, user = tmp_path_factory.mktemp("cluster"), pwd.getpwuid(os.geteuid()).pw_name
    host = socket.gethostname().split(".")[0]
    conf = CONF.format(folder=folder, host=host, ports=free_ports(3), user=user, cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(conf)
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    cluster = Cluster(folder)
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munge += [f"--{name}-file={folder}/munged.{name}" for name in ("log", "pid", "seed")]
    daemons = [munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]]
    with contextlib.ExitStack() as stack:
        for command in daemons:
            log = stack.enter_context((folder / f"{command[0]}.out").open("a"))
            process = subprocess.Popen(
                command, env=cluster.env, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            while command is munge and not (folder / "munge.socket").exists():
                assert process.poll() is None, (folder / "munged.out").read_text()
                time.sleep(0.05)
        end = time.monotonic() + 60
        while True:
            result = subprocess.run(
                ["sinfo", "--noheader", "--format=%T %D"],
                env=cluster.env,
                capture_output=True,
                text=True,
                check=False,
            )
            if result.stdout.split() == ["idle", "2"]:
                break
            assert time.monotonic() < end, result.stdout + result.stderr
            time.sleep(0.2)
        yield cluster
        cluster.run("scancel", "--full", f"--user={user}")
