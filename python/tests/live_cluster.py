"""Against a real cluster: the one of the connection PVC_CONNECTION, or of the default one.

Not among the other tests: run it by `make test-python-cluster`. It defines a VM of a name of its own and removes it
again. With PVC_TEST_START=1 it starts it too.
"""

import os
import unittest
import uuid

import pvc
from pvc import v1


class LiveCluster(unittest.TestCase):
    def setUp(self):
        self.client = pvc.connect()
        self.addCleanup(self.client.close)
        self.name = f"python-{uuid.uuid4().hex[:8]}"

    def define(self, **spec):
        made = self.client.create_vm(self.name, spec={"vcpus": 1, "memory_mib": 64, **spec})
        self.addCleanup(self.remove)
        return made

    def remove(self):
        try:
            self.client.wait(self.client.stop_vm(self.name), timeout=60)
        except pvc.CallError:
            pass  # It was off, or is gone.
        try:
            self.client.wait(self.client.delete_vm(self.name), timeout=60)
        except pvc.NotFound:
            pass

    def test_it_is_known_and_sees_the_cluster(self):
        self.assertTrue(self.client.who_am_i().identity)
        status = self.client.get_cluster_status()
        nodes = list(self.client.iterate(self.client.list_nodes))
        self.assertEqual(len(nodes), status.nodes)
        self.assertIn(status.leader, [node.meta.name for node in nodes])

    def test_every_coordinator_may_be_asked(self):
        status = self.client.get_cluster_status()
        connection = pvc.load()
        for address in [member.address for member in status.members if member.voter]:
            alone = pvc.Connection([address], connection.ca, connection.certificate, connection.key, connection.token)
            with pvc.Client(alone) as client:
                self.assertTrue(client.who_am_i().answered_by, address)

    def test_a_vm_from_its_definition_to_its_end(self):
        with self.client.watch_vms(f"^{self.name}$") as watch:
            made = self.define(tags=["python"])
            self.assertEqual(next(watch).vm.meta.uid, made.meta.uid)
            changed = self.client.update_vm(self.name, vcpus=2, expected_revision=made.meta.revision)
            self.assertEqual(changed.spec.vcpus, 2)
            self.assertEqual(next(watch).vm.spec.vcpus, 2)
            with self.assertRaises(pvc.Conflict):
                self.client.update_vm(self.name, vcpus=3, expected_revision=made.meta.revision)
            self.client.wait(self.client.delete_vm(self.name), timeout=60)
            while next(watch).kind != v1.CHANGE_KIND_DELETED:
                pass
        with self.assertRaises(pvc.NotFound) as raised:
            self.client.get_vm(self.name)
        self.assertEqual(raised.exception.subject, f"vm/{self.name}")

    def test_refusals_tell_their_rule(self):
        self.define()
        with self.assertRaises(pvc.AlreadyExists) as raised:
            self.client.create_vm(self.name, spec={"vcpus": 1, "memory_mib": 64})
        self.assertTrue(raised.exception.rule)
        with self.assertRaises(pvc.Invalid):
            self.client.create_vm("Not A Name", spec={"vcpus": 1, "memory_mib": 64}, validate_only=True)

    def test_a_request_id_makes_a_write_once(self):
        request = str(uuid.uuid4())
        spec = {"vcpus": 1, "memory_mib": 64}
        made = [self.client.create_vm(self.name, spec=spec, request_id=request) for _ in range(2)]
        self.addCleanup(self.remove)
        self.assertEqual(made[0].meta.uid, made[1].meta.uid)

    def test_a_token_alone_is_enough_and_good_for_its_role(self):
        made = self.client.create_api_token(self.name, role="ROLE_VIEWER", lifetime_seconds=600)
        self.addCleanup(self.client.revoke_token, self.name)
        connection = pvc.load()
        with pvc.Client(pvc.Connection(connection.coordinators, connection.ca, token=made.secret)) as client:
            self.assertEqual(client.who_am_i().identity, f"token/{self.name}")
            self.assertTrue(client.list_nodes().nodes)
            with self.assertRaises(pvc.PermissionDenied):
                client.create_vm(self.name, spec={"vcpus": 1, "memory_mib": 64})

    def test_a_daemons_log_is_read(self):
        node = next(self.client.iterate(self.client.list_nodes)).meta.name
        with self.client.tail_node_log(node, lines=5) as log:
            self.assertTrue(b"".join(chunk.data for chunk in log))

    @unittest.skipUnless(os.environ.get("PVC_TEST_START"), "PVC_TEST_START is not set")
    def test_a_vm_is_started_and_stopped(self):
        self.define()
        stages = []
        self.client.wait(self.client.start_vm(self.name), timeout=120, progress=lambda task: stages.append(task.stage))
        self.assertEqual(self.client.get_vm(self.name).status.phase, v1.VM_PHASE_RUNNING)
        self.assertTrue(stages)
        self.client.wait(self.client.stop_vm(self.name), timeout=60)
        self.assertEqual(self.client.get_vm(self.name).status.phase, v1.VM_PHASE_STOPPED)


if __name__ == "__main__":
    unittest.main()
