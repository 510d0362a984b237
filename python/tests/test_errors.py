"""What the caller of a refused call is told."""

import pvc
from pvc import v1
from tests.cases import WithCluster


class Errors(WithCluster):
    def test_a_refusal_tells_rule_object_and_help(self):
        client = self.client()
        client.create_vm("web1")
        with self.assertRaises(pvc.AlreadyExists) as raised:
            client.create_vm("web1")
        error = raised.exception
        self.assertEqual((error.rule, error.subject, error.detail), ("name-taken", "vm/web1", "the name is taken"))
        self.assertEqual(error.help, "see `pvc vm info web1`")
        self.assertEqual(str(error), "vm/web1: the name is taken [name-taken]; see `pvc vm info web1`")
        self.assertIsInstance(error, pvc.Error)

    def test_what_is_no_field_is_refused_here(self):
        with self.assertRaises(TypeError):
            self.client().create_vm("web1", vcpus=2)
        with self.assertRaises(ValueError):
            self.client().create_vm("web1", spec={"vcpu": 2})
        self.assertEqual(self.cluster.calls, [])

    def test_messages_and_enums_by_their_names(self):
        spec = {"vcpus": 3, "disks": [{"volume": "root", "bus": "DISK_BUS_SCSI"}], "meta": {"a": "b"}}
        self.assertEqual(self.client().create_vm("web1", spec=spec).spec.vcpus, 3)
        self.assertEqual(self.client().create_vm("web2", spec=v1.VmSpec(vcpus=4)).spec.vcpus, 4)

    def test_a_stream_that_is_refused_and_one_that_breaks(self):
        client = self.client()
        self.assertEqual(b"".join(chunk.data for chunk in client.tail_vm_log("web1")), b"one\ntwo\n")
        seen = []
        with self.assertRaises(pvc.Unavailable) as raised:
            for chunk in client.tail_vm_log("web1", follow=True):
                seen.append(chunk.data)
        self.assertEqual(seen, [b"one\n", b"two\n"])
        self.assertEqual(raised.exception.rule, "unreachable")
        with self.assertRaises(pvc.NotFound):
            next(client.watch_task("none"))

    def test_a_console_both_ways(self):
        typed = [v1.ConsoleInput(vm="web1"), v1.ConsoleInput(data=b"ls"), v1.ConsoleInput(data=b" -l")]
        said = b"".join(output.data for output in self.client().console(typed))
        self.assertEqual(said, b"web1: LS -L")

    def test_pages_are_walked(self):
        for at in range(7):
            self.cluster.put(f"vm{at}")
        client = self.client()
        names = [vm.meta.name for vm in client.iterate(client.list_vms, page_size=3)]
        self.assertEqual(names, [f"vm{at}" for at in range(7)])
        self.assertEqual(len(self.cluster.names("ListVms")), 3)
