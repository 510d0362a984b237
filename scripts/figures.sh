#!/bin/bash
# Measures the figures of README.md on a local cluster of three hosts of its own, which it removes again.
#
#   scripts/figures.sh [SECONDS]      how long the idle cluster is watched; without it 60
#
# Needs root and what `make demo` has built. Prints a table; nothing is asserted.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
name=figures
bin=${CARGO_TARGET_DIR:-target}/release
pvc() { "$bin/pvc" --connection "$name" "$@"; }
local_cluster() { "$bin/pvc-bootstrap" local --name "$name" "$@"; }
trap 'local_cluster down >/dev/null 2>&1 || true' EXIT

local_cluster up >&2
for number in $(seq -w 1 100); do
  pvc --quiet vm define "vm$number" --vcpus 1 --memory 64M >/dev/null
done
sleep 10

daemon() { # host: the pid of its pvcd
  for pid in $(ip netns pids "pvc-$name-$1"); do
    [ "$(cat "/proc/$pid/comm")" = pvcd ] && echo "$pid" && return
  done
}
ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }
revision() { pvc cluster status -o json | sed -n 's/.*"committed": *"\{0,1\}\([0-9]*\).*/\1/p' | head -1; }

hosts="hv1 hv2 hv3"
declare -A before
for host in $hosts; do before[$host]=$(ticks "$(daemon $host)"); done
first=$(revision)
sleep "$seconds"
last=$(revision)
hertz=$(getconf CLK_TCK)

echo "| what | measured |"
echo "| --- | --- |"
for host in $hosts; do
  pid=$(daemon $host)
  memory=$(awk '/^VmRSS/ {printf "%.0f", $2 / 1024}' "/proc/$pid/status")
  cpu=$(awk -v t=$(($(ticks "$pid") - before[$host])) -v h="$hertz" -v s="$seconds" 'BEGIN {printf "%.2f", 100 * t / h / s}')
  echo "| \`pvcd\` on $host, 3 hosts and 100 defined VMs | $memory MiB resident, $cpu % of a core when idle |"
done
echo "| commits of the idle cluster in $seconds s | $((last - first)) |"

runs=50
began=$(date +%s%N)
for _ in $(seq $runs); do "$bin/pvc" --version >/dev/null; done
ended=$(date +%s%N)
echo "| \`pvc\` starts and ends ($runs runs, mean) | $(((ended - began) / runs / 10000))e-2 ms |" | sed -E 's/([0-9]+)([0-9]{2})e-2/\1.\2/'
