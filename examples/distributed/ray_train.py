"""lowrank on a Ray cluster: actors hold the places, one for each rank, and start the ranks in them.

    python examples/distributed/ray_train.py --ranks 4 --cpus 8 -- --config my.yaml save_every=50

What follows `--` goes to `lowrank train`. Every node needs lowrank and MPICH (Debian: apt-get install mpich), and the config, rows and base
under the same paths; the working directory is taken over. Where ranks are lost, or one runs out of memory, all are started again from the newest
checkpoint, up to --max-failures times.

Ranks find each other through Hydra, MPICH's launcher: `mpiexec -launcher manual` prints for each node the command that starts
its ranks, and waits until somebody runs it there. The first actor on each node does. No SSH is needed.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

LAUNCH, LAUNCHED = "HYDRA_LAUNCH: ", "HYDRA_LAUNCH_END"
AGAIN = 75  # lowrank's exit code where another start may help; so are those of signals, from 128


@ray.remote(max_concurrency=2)
class Place:
    """CPUs on a node. The first of all runs mpiexec, too, which waits for the ranks and passes their output on."""

    def address(self):
        return ray.util.get_node_ip_address()

    def launch(self, hosts, command, folder):
        """Starts mpiexec for `hosts` (address -> ranks); returns the command of each host, in their order."""
        mpiexec = shutil.which("mpiexec.hydra") or shutil.which("mpiexec")
        if mpiexec is None:
            raise RuntimeError("mpiexec is not on this node; on Debian: apt-get install mpich")
        slots = ",".join(f"{host}:{ranks}" for host, ranks in hosts.items())
        asked = ["-launcher", "manual", "-rmk", "user", "-localhost", self.address(), "-hosts", slots]
        self.world = subprocess.Popen(
            [mpiexec, *asked, "-n", str(sum(hosts.values())), *command], stdout=subprocess.PIPE, text=True, cwd=folder
        )
        commands = []
        for line in self.world.stdout:
            if line.startswith(LAUNCHED):
                return commands
            if line.startswith(LAUNCH):
                commands.append(shlex.split(line[len(LAUNCH) :]))
        raise RuntimeError(f"mpiexec ended with {self.world.wait()} before it had said how to start the ranks")

    def follow(self):
        """Passes on what ranks print; returns the exit code of the world."""
        for line in self.world.stdout:
            print(line, end="", flush=True)
        return self.world.wait()

    def start(self, command, folder):
        """Runs the command that starts a node's ranks, until they have ended."""
        return subprocess.run(command, cwd=folder).returncode


def run_once(ranks, cpus, command, folder):
    """Runs all ranks to their end; returns the exit code."""
    group = placement_group([{"CPU": cpus}] * ranks, strategy="SPREAD")
    try:
        ray.get(group.ready())
        strategies = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i) for i in range(ranks)]
        places = [Place.options(num_cpus=cpus, scheduling_strategy=own).remote() for own in strategies]
        addresses = ray.get([place.address.remote() for place in places])
        hosts = {address: addresses.count(address) for address in addresses}
        commands = ray.get(places[0].launch.remote(hosts, command, folder))
        if len(commands) != len(hosts):
            raise RuntimeError(f"mpiexec printed {len(commands)} commands for {len(hosts)} nodes")
        first = [places[addresses.index(host)] for host in hosts]
        started = [place.start.remote(own, folder) for place, own in zip(first, commands)]
        code = ray.get(places[0].follow.remote())
        ray.get(started)
        return code
    except ray.exceptions.RayActorError as error:
        print(f"a node was lost: {error}", file=sys.stderr)
        return AGAIN
    finally:
        remove_placement_group(group)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--cpus", type=int, default=1, help="of each rank, which are its threads, too")
    parser.add_argument("--max-failures", type=int, default=3)
    parser.add_argument("--lowrank", default="lowrank", help="the program that the nodes start")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- words of lowrank train")
    asked = parser.parse_args()
    words = asked.words[1:] if asked.words[:1] == ["--"] else asked.words
    ray.init()
    command = [*shlex.split(asked.lowrank), "train", *words, f"threads={asked.cpus}", "--resume"]
    for failures in range(asked.max_failures + 1):
        code = run_once(asked.ranks, asked.cpus, command, os.getcwd())
        if code != AGAIN and code < 128:
            return code
        if failures < asked.max_failures:
            print(f"the ranks ended with {code}; starting them again from the newest checkpoint", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
