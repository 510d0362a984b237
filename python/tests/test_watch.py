"""A watch tells everything once, whatever breaks under it."""

import threading

import grpc

import pvc
from pvc import v1
from tests.cases import WithCluster
from tests.fake import CUT, compacted, refuse


def told(watch, count):
    """The next changes, in short."""
    changes = [next(watch) for _ in range(count)]
    kinds = {v1.CHANGE_KIND_CREATED: "+", v1.CHANGE_KIND_UPDATED: "~", v1.CHANGE_KIND_DELETED: "-"}
    return [f"{kinds[change.kind]}{change.vm.meta.name}" for change in changes]


class Watching(WithCluster):
    def setUp(self):
        super().setUp()
        self.cluster.put("db1")
        self.cluster.put("web1")

    def cut(self):
        """Breaks all watches off."""
        self.cluster.tell(CUT)

    def test_a_list_then_changes(self):
        with self.client().watch_vms() as watch:
            self.assertEqual(told(watch, 2), ["+db1", "+web1"])
            self.cluster.put("web1", 4)
            self.cluster.put("web2")
            self.cluster.remove("db1")
            self.assertEqual(told(watch, 3), ["~web1", "+web2", "-db1"])

    def test_it_goes_on_where_it_broke_off(self):
        with self.client().watch_vms() as watch:
            told(watch, 2)
            self.cluster.put("web1", 4)
            self.assertEqual(told(watch, 1), ["~web1"])
            self.cut()
            self.cluster.put("web2")
            # Not the list again, and web1's change not a second time.
            self.assertEqual(told(watch, 1), ["+web2"])
        self.assertGreaterEqual(len(self.cluster.names("WatchVms")), 2)

    def test_a_coordinator_that_dies_is_passed_by(self):
        with self.client().watch_vms() as watch:
            told(watch, 2)
            self.cluster.coordinators[0].stop()
            self.cluster.put("web2")
            self.assertEqual(told(watch, 1), ["+web2"])
        self.assertEqual(self.cluster.names("WatchVms")[-1], "hv2")

    def test_what_went_while_it_was_too_long_away_is_told(self):
        with self.client().watch_vms() as watch:
            told(watch, 2)

            def meanwhile(context):
                self.cluster.on_watch = None
                self.cluster.remove("db1")
                self.cluster.put("web1", 8)
                self.cluster.put("web2")
                compacted(context)

            self.cluster.on_watch = meanwhile
            self.cut()
            self.assertEqual(sorted(told(watch, 3)), ["+web2", "-db1", "~web1"])
            self.cluster.put("web3")
            self.assertEqual(told(watch, 1), ["+web3"])

    def test_from_a_revision_of_a_list(self):
        client = self.client()
        listed = client.list_vms()
        with client.watch_vms(start_revision=listed.revision) as watch:
            self.cluster.put("web2")
            self.assertEqual(told(watch, 1), ["+web2"])
            self.cluster.on_watch = compacted
            self.cut()
            with self.assertRaises(pvc.Compacted):
                next(watch)

    def test_a_refusal_ends_it(self):
        invalid = (grpc.StatusCode.INVALID_ARGUMENT, "filter-valid", "name_filter", "it is no expression")
        self.cluster.on_watch = lambda context: refuse(context, *invalid)
        with self.assertRaises(pvc.Invalid):
            next(self.client().watch_vms("("))

    def test_another_thread_ends_it(self):
        watch = self.client().watch_vms()
        told(watch, 2)
        timer = threading.Timer(0.3, watch.cancel)
        timer.start()
        self.addCleanup(timer.cancel)
        self.assertEqual(list(watch), [])


class Tasks(WithCluster):
    def setUp(self):
        super().setUp()
        self.cluster.put("web1")

    def ends(self, task, state, message="", before=()):
        ended = v1.Task()
        ended.CopyFrom(task)
        ended.state, ended.message = state, message
        with self.cluster.lock:
            self.cluster.tasks[task.meta.name] += [*before, ended]

    def test_a_task_is_followed_to_its_end(self):
        client = self.client()
        task = client.start_vm("web1")
        timer = threading.Timer(0.3, self.ends, [task, v1.TASK_STATE_SUCCEEDED])
        timer.start()
        states = []
        ended = client.wait(task, progress=lambda state: states.append(state.state))
        self.assertEqual(ended.state, v1.TASK_STATE_SUCCEEDED)
        self.assertEqual(states, [v1.TASK_STATE_RUNNING, v1.TASK_STATE_SUCCEEDED])

    def test_a_broken_stream_is_opened_again(self):
        client = self.client()
        task = client.start_vm("web1")
        self.ends(task, v1.TASK_STATE_SUCCEEDED, before=[CUT])
        self.assertEqual(client.wait(task.meta.name).state, v1.TASK_STATE_SUCCEEDED)
        self.assertEqual(len(self.cluster.names("WatchTask")), 2)

    def test_a_failure_is_raised(self):
        client = self.client()
        task = client.start_vm("web1")
        self.ends(task, v1.TASK_STATE_FAILED, "no node has room")
        with self.assertRaises(pvc.TaskFailed) as raised:
            client.wait(task)
        self.assertEqual(str(raised.exception), "vm/web1: vm.start failed: no node has room")
        self.assertEqual(raised.exception.task.meta.name, task.meta.name)

    def test_waiting_ends_in_time(self):
        client = self.client()
        with self.assertRaises(pvc.DeadlineExceeded):
            client.wait(client.start_vm("web1"), timeout=0.5)
        with self.assertRaises(pvc.NotFound):
            client.wait("none", timeout=5)
