"""Tests of the client, against coordinators that are none but speak TLS and gRPC as real ones do."""

import os

# Refused handshakes are what some tests are about; grpc would tell each on stderr.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Certificates are made by a child process, which uses no grpc.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
