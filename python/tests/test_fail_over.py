"""Which coordinator is asked, and what happens when it does not answer."""

import socket
import threading
import unittest

import pvc
from tests.cases import WithCluster


class FailOver(WithCluster):
    def test_a_dead_coordinator_is_passed_by(self):
        client = self.client()
        self.cluster.coordinators[0].stop()
        self.assertEqual(client.who_am_i().answered_by, "hv2")
        # The one that has answered is asked first from then on.
        self.assertEqual(client.who_am_i().answered_by, "hv2")
        self.cluster.coordinators[1].stop()
        self.assertEqual(client.who_am_i().answered_by, "hv3")

    def test_a_silent_coordinator_is_passed_by(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = "127.0.0.1:%d" % silent.getsockname()[1]
            client = self.client([address, self.cluster.addresses[2]])
            self.assertEqual(client.who_am_i().answered_by, "hv3")

    def test_the_leader_is_followed(self):
        self.cluster.leader = self.cluster.coordinators[2]
        client = self.client()
        client.create_vm("web1", spec={"vcpus": 2})
        self.assertEqual(self.cluster.names("CreateVm"), ["hv1", "hv3"])
        self.assertEqual(client.leader, self.cluster.addresses[2])
        client.create_vm("web2")
        self.assertEqual(self.cluster.names("CreateVm"), ["hv1", "hv3", "hv3"])

    def test_a_leader_that_was_not_named_is_learned(self):
        self.cluster.leader = self.cluster.coordinators[2]
        client = self.client(self.cluster.addresses[:1])
        self.assertEqual(client.create_vm("web1").meta.name, "web1")

    def test_a_new_leader_is_waited_for(self):
        self.cluster.leader = None

        def elect():
            self.cluster.leader = self.cluster.coordinators[1]

        timer = threading.Timer(0.5, elect)
        timer.start()
        self.addCleanup(timer.cancel)
        self.assertEqual(self.client().create_vm("web1").meta.name, "web1")

    def test_without_a_leader_it_is_told_in_time(self):
        self.cluster.leader = None
        with self.assertRaises(pvc.Unavailable) as raised:
            self.client().create_vm("web1", timeout=1)
        self.assertEqual(raised.exception.rule, "not-leader")

    def test_without_any_coordinator_it_is_told_in_time(self):
        self.cluster.stop()
        with self.assertRaises(pvc.Unavailable) as raised:
            self.client().who_am_i(timeout=1)
        for address in self.cluster.addresses:
            self.assertIn(address, str(raised.exception))

    def test_a_write_whose_answer_is_lost_is_made_once(self):
        self.cluster.lose_answers = 1
        made = self.client().create_vm("web1")
        self.assertEqual(self.cluster.names("CreateVm").count("hv1"), 2)
        self.assertEqual(made.meta.revision, self.cluster.vms["web1"].meta.revision)
        self.assertEqual(len(self.cluster.done), 1)

    def test_a_refusal_is_final(self):
        client = self.client()
        with self.assertRaises(pvc.NotFound):
            client.get_vm("none")
        self.assertEqual(len(self.cluster.names("GetVm")), 1)

    def test_threads_may_share_a_client(self):
        client = self.client()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(client.who_am_i())) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(answers), 20)


if __name__ == "__main__":
    unittest.main()
