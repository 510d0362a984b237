"""What the tests with coordinators have in common."""

import tempfile
import unittest

import pvc
from tests.certificates import Authority
from tests.fake import Cluster


class WithCluster(unittest.TestCase):
    """Three coordinators, of which hv1 leads, and an admin's client of them."""

    token = None

    @classmethod
    def setUpClass(cls):
        cls._folder = tempfile.TemporaryDirectory()
        cls.authority = Authority(cls._folder.name)
        cls.certificate, cls.key = cls.authority.admin("root")

    @classmethod
    def tearDownClass(cls):
        cls._folder.cleanup()

    def setUp(self):
        self.cluster = Cluster(self.authority, token=self.token)
        self.addCleanup(self.cluster.stop)

    def client(self, addresses=None, timeout=15):
        connection = pvc.Connection(addresses or self.cluster.addresses, self.authority.ca, self.certificate, self.key)
        client = pvc.Client(connection, timeout)
        self.addCleanup(client.close)
        return client
