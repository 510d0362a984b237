"""A certificate authority for tests, and what it signs, by the openssl command."""

import pathlib
import subprocess

CLUSTER = "c-test"


class Authority:
    """The files lie in `folder`: ca.pem, NAME.pem, NAME.key."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._key("ca")
        self._openssl(
            *("req", "-x509", "-key", "ca.key", "-subj", "/CN=PVC CA", "-days", "2", "-out", "ca.pem"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"),
        )

    @property
    def ca(self):
        return (self.folder / "ca.pem").read_bytes()

    def node(self, name, dns="pvc-coordinator"):
        """As a cluster signs it: the node's name as a URI, and the DNS name that Python asks for."""
        return self._leaf(name, f"URI:pvc://{CLUSTER}/node/{name},DNS:{name},DNS:{dns}")

    def admin(self, name):
        return self._leaf(name, f"URI:pvc://{CLUSTER}/admin/{name}")

    def _leaf(self, name, names):
        if not (self.folder / f"{name}.pem").exists():
            self._sign(name, names)
        return (self.folder / f"{name}.pem").read_bytes(), (self.folder / f"{name}.key").read_bytes()

    def _sign(self, name, names):
        self._key(name)
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
        )

    def _key(self, name):
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
