"""Connections files, as `pvc connection` writes them."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

import pvc
from pvc import connections

ENTRY = """
[connections.{name}]
coordinators = ["{name}:7371"]
ca_pem = "CA"
token = "pvct1{name}"
"""


class Connections(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.system = self.folder / "etc.toml"
        self.user = self.folder / "pvc" / "connections.toml"
        self.user.parent.mkdir()
        environment = {"XDG_CONFIG_HOME": str(self.folder), "HOME": str(self.folder)}
        for patch in (
            mock.patch.object(connections, "SYSTEM_FILE", self.system),
            mock.patch.dict(os.environ, environment),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        os.environ.pop("PVC_CONNECTION", None)

    def refused(self, name=None):
        with self.assertRaises(pvc.ConfigError) as raised:
            pvc.load(name)
        return str(raised.exception)

    def test_the_one_that_is_meant(self):
        self.assertIn("there is no connection to a cluster", self.refused())
        self.system.write_text(ENTRY.format(name="a"))
        self.assertEqual(pvc.load().coordinators, ["a:7371"])
        self.user.write_text(ENTRY.format(name="b"))
        self.assertEqual(self.refused(), "no connection is the default; choose one of: a, b")
        self.user.write_text('default = "b"' + ENTRY.format(name="b"))
        self.assertEqual(pvc.load().token, "pvct1b")
        with mock.patch.dict(os.environ, PVC_CONNECTION="a"):
            self.assertEqual(pvc.load().token, "pvct1a")
            self.assertEqual(pvc.load("b").token, "pvct1b")
        self.assertEqual(self.refused("x"), 'there is no connection "x"; there are: a, b')

    def test_credentials_in_a_folder(self):
        for name in ("ca.pem", "node.pem", "node.key"):
            (self.folder / name).write_text(name)
        self.user.write_text(f'[connections.a]\ncoordinators = ["a:1"]\ncredentials = "{self.folder}"\n')
        connection = pvc.load()
        self.assertEqual((connection.ca, connection.certificate, connection.key), (b"ca.pem", b"node.pem", b"node.key"))
        (self.folder / "node.key").unlink()
        self.assertIn("node.key", self.refused())

    def test_what_can_not_be_used(self):
        for text, said in (
            ('[connections.a]\ncoordinators = []\nca_pem = "x"\ntoken = "t"\n', "names no coordinator"),
            ('[connections.a]\ncoordinators = ["a:1"]\n', "neither credentials nor a token"),
            ('[connections.a]\ncoordinators = ["a:1"]\ncredentials = "/nowhere"\n', "/nowhere/ca.pem"),
            ("nonsense", "is not a connections file"),
        ):
            self.user.write_text(text)
            self.assertIn(said, self.refused())
        with self.assertRaises(pvc.ConfigError):
            pvc.Connection("a:1", b"", token="t")
        with self.assertRaises(pvc.ConfigError):
            pvc.Connection(["a:1"], b"", certificate=b"x")

    def test_a_file_that_may_not_be_read_stands_in_nobodys_way(self):
        real = pathlib.Path.read_text

        def closed(path, *args, **kwargs):
            if path == self.system:
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **kwargs)

        with mock.patch.object(pathlib.Path, "read_text", closed):
            self.assertIn("may not be read", self.refused())
            self.user.write_text(ENTRY.format(name="b"))
            self.assertEqual(pvc.load().token, "pvct1b")
