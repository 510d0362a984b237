"""Who is believed to be a coordinator, and who is let in."""

import tempfile

import pvc
from tests.cases import WithCluster
from tests.certificates import Authority
from tests.fake import Coordinator


class Trust(WithCluster):
    def test_another_ca_is_not_trusted_and_not_waited_for(self):
        with tempfile.TemporaryDirectory() as folder:
            other = Authority(folder)
            certificate, key = other.admin("root")
            with pvc.Client(pvc.Connection(self.cluster.addresses, other.ca, certificate, key), 60) as client:
                with self.assertRaises(pvc.Unauthenticated) as raised:
                    client.who_am_i()
        self.assertIn("no coordinator can be trusted", str(raised.exception))

    def test_a_certificate_without_the_name_is_not_trusted(self):
        impostor = Coordinator(self.cluster, "mallory", dns="mallory")
        self.addCleanup(impostor.stop)
        with self.assertRaises(pvc.Unauthenticated):
            self.client([impostor.address], 60).who_am_i()
        self.assertEqual(self.cluster.calls, [])

    def test_who_shows_no_certificate_is_not_let_in(self):
        connection = pvc.Connection(self.cluster.addresses, self.authority.ca, token="pvct1x")
        with pvc.Client(connection, 2) as client:
            with self.assertRaises(pvc.CallError):
                client.who_am_i()
        self.assertEqual(self.cluster.calls, [])


class Token(WithCluster):
    token = "pvct1secret"

    def test_a_token_is_shown(self):
        with pvc.Client(pvc.Connection(self.cluster.addresses, self.authority.ca, token=self.token)) as client:
            self.assertEqual(client.who_am_i().identity, "admin/test")

    def test_a_wrong_token_is_refused(self):
        with pvc.Client(pvc.Connection(self.cluster.addresses, self.authority.ca, token="pvct1other")) as client:
            with self.assertRaises(pvc.Unauthenticated) as raised:
                client.who_am_i()
        self.assertEqual(raised.exception.rule, "token-valid")
        self.assertEqual(len(self.cluster.calls), 1)
        self.assertNotIn("pvct1other", repr(pvc.Connection(["a:1"], b"", token="pvct1other")))
