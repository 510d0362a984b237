"""docs/examples/node, run as its reader runs it, against coordinators that are none.

Not among the other tests: it needs Node.js and its packages. Run it by `make test-examples`.
"""

import os
import pathlib
import subprocess
import threading
import unittest

from pvc import v1
from tests.cases import WithCluster

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "node"


class NodeExample(WithCluster):
    def setUp(self):
        super().setUp()
        self.cluster.leader = self.cluster.coordinators[1]
        for name in ("db1", "web1", "web2"):
            self.cluster.put(name)

    def run_example(self, *words, **more):
        environment = {
            **os.environ,
            "PVC_COORDINATORS": ",".join(self.cluster.addresses),
            "PVC_CREDENTIALS": str(self.authority.folder),
            "PVC_PROTO": str(ROOT / "proto" / "proto"),
            **more,
        }
        for name in ("pem", "key"):
            (self.authority.folder / f"node.{name}").write_bytes((self.authority.folder / f"root.{name}").read_bytes())
        ran = subprocess.run(
            ["node", "pvc.mjs", *words], cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=60
        )
        return ran.returncode, ran.stdout, ran.stderr

    def test_it_lists_past_a_dead_coordinator(self):
        self.cluster.coordinators[0].stop()
        exit, out, error = self.run_example("list")
        self.assertEqual((exit, [line.split()[0] for line in out.splitlines()]), (0, ["db1", "web1", "web2"]), error)

    def test_it_starts_at_the_leader_and_waits(self):
        def end():
            while not self.cluster.tasks:
                threading.Event().wait(0.05)
            states = next(iter(self.cluster.tasks.values()))
            ended = v1.Task()
            ended.CopyFrom(states[0])
            ended.state = v1.TASK_STATE_SUCCEEDED
            states.append(ended)

        threading.Thread(target=end, daemon=True).start()
        exit, out, error = self.run_example("start", "web1")
        self.assertEqual((exit, out), (0, "  starting\nvm/web1 TASK_STATE_SUCCEEDED \n"), error)
        self.assertEqual(self.cluster.names("StartVm"), ["hv1", "hv2"])

    def test_it_watches(self):
        exit, out, error = self.run_example("watch", "3")
        self.assertEqual([line.split()[1] for line in out.splitlines()], ["db1", "web1", "web2"], error)

    def test_a_refusal_is_told(self):
        exit, _, error = self.run_example("start", "none")
        self.assertEqual((exit, error), (1, "error: vm/none: there is none\n"))


class NodeExampleWithToken(NodeExample):
    token = "pvct1secret"

    def run_example(self, *words):
        return super().run_example(*words, PVC_TOKEN=self.token)


if __name__ == "__main__":
    unittest.main()
