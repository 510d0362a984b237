#!/usr/bin/python3
"""Measures client networks on a local cluster of its own, with a router upstream, which it removes again.

    scripts/network.py [--only PART,…] [--runs N] [--moves N] [--deaths N] [--name NAME] [--guest DIR] [--profile PROFILE]
                       [--keep] [--logs DIR]

Needs root and what `make demo` has built. Founds four hosts (three coordinators and a plain hypervisor), a network, and
three guests in it on three hosts; then each part looks at one thing, in this order:

    calm addresses reach names routes handover death upstream migration restart rules live thousand

Prints a table of all that was measured, and ends with 1 where a target is missed or a part did not get to its end.
With --keep the cluster stays, and the next run goes on with it.
"""

import argparse
import os
import sys
import time
import traceback

from netbench import parts, scale
from netbench.bench import Bench

PARTS = {
    part.__name__: part
    for part in (
        parts.calm,
        parts.addresses,
        parts.reach,
        parts.names,
        parts.routes,
        parts.handover,
        parts.death,
        parts.upstream,
        parts.migration,
        parts.restart,
        scale.rules,
        scale.live,
        scale.thousand,
    )
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="these parts alone, with commas between them")
    parser.add_argument("--runs", type=int, default=5, help="of hand-overs and cuts")
    parser.add_argument("--moves", type=int, default=20, help="of a guest, live")
    parser.add_argument("--deaths", type=int, default=2, help="of the primary's host")
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--live", type=int, default=200)
    parser.add_argument("--name", default="network")
    parser.add_argument("--profile", default="release", help="which build of the programs")
    parser.add_argument("--guest", default="target/guest")
    parser.add_argument("--state", default="/var/lib/pvc-local", help="where local clusters keep their state")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    parser.add_argument("--logs", default="target/network", help="where the hosts' logs are kept afterwards")
    options = parser.parse_args()
    options.parts = options.only.split(",") if options.only else list(PARTS)
    strange = [part for part in options.parts if part not in PARTS]
    if strange:
        parser.error(f"there is no part {strange[0]!r}; the parts are {' '.join(PARTS)}")
    return options


def main():
    options = arguments()
    bench = Bench(options)
    began = time.monotonic()
    try:
        bench.found()
        for name in options.parts:
            print(f"{name}:", flush=True)
            try:
                PARTS[name](bench)
            except Exception as error:
                if os.environ.get("NETBENCH_TRACE"):
                    traceback.print_exc()
                bench.report.broken(name, error)
                bench.cluster.local("heal", check=False)
    except Exception as error:
        bench.report.broken("the cluster", error)
    finally:
        bench.cluster.keep_logs(options.logs)
        if not options.keep:
            bench.cluster.down()
    print(f"{time.monotonic() - began:.0f} s on {os.cpu_count()} processors, guests without KVM")
    bench.report.table()
    return int(bench.report.failed)


if __name__ == "__main__":
    sys.exit(main())
