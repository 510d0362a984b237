"""Every public method has its Python method, and methods.txt says which."""

import inspect
import pathlib
import re
import unittest

import pvc
from pvc.v1.api import METHODS

TABLE = pathlib.Path(__file__).resolve().parents[1] / "methods.txt"


class Methods(unittest.TestCase):
    def test_the_table_is_what_there_is(self):
        lines = [line.split() for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
        said = {(path, name) for path, name in lines}
        real = {(method.path, name) for name, method in METHODS.items()}
        self.assertEqual(sorted(said), sorted(real), "python/methods.txt is not what generate.py has made")

    def test_each_is_a_method_with_a_text(self):
        for name, method in METHODS.items():
            function = getattr(pvc.Client, name)
            self.assertTrue(inspect.isfunction(function), name)
            self.assertGreater(len(function.__doc__.split()), 3, name)

    def test_what_is_asked_about_needs_no_name(self):
        parameters = inspect.signature(pvc.Client.start_vm).parameters
        by_place = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.assertEqual(by_place, ["self", "name"])
        self.assertEqual(set(parameters), {"self", "name", "node", "request_id", "timeout"})
        with self.assertRaises(TypeError):
            pvc.Client.start_vm(None, "web1", vm="web1")

    def test_the_package_is_of_the_houses_version(self):
        root = TABLE.parents[1]
        versions = [
            re.search(r'^version = "(.+)"$', (root / file).read_text(), re.MULTILINE).group(1)
            for file in ("Cargo.toml", "python/pyproject.toml")
        ]
        self.assertEqual(versions[0], versions[1])
