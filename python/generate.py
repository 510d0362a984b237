#!/usr/bin/python3
"""Makes pvc/v1 from the .proto files: messages, gRPC stubs, and api.py with a Python method for each public method.

Needs protoc, grpc_python_plugin and Python's protobuf, of one release: on Debian 12 protobuf-compiler,
libprotobuf-dev, protobuf-compiler-grpc and python3-protobuf. Nothing else is read or written.
"""

import keyword
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HERE = pathlib.Path(__file__).resolve().parent
PROTOS = HERE.parent / "proto" / "proto"
PACKAGE = "pvc.v1"
OUT = HERE / "pvc" / "v1"
# Names that a client has besides the methods of the API.
TAKEN = {"iterate", "wait", "close", "leader"}
FIELD = descriptor_pb2.FieldDescriptorProto
MADE = '"""Made from the .proto files by generate.py; not to be edited."""\n'


def main():
    files = sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / "pvc" / "v1").glob("*.proto"))
    files.append("pvc/details.proto")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        whole = scratch / "whole.ds"
        protoc("-I", PROTOS, "-I", HERE, "--include_imports", "--include_source_info", "-o", whole, *files)
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(whole.read_bytes())
        leaders = methods_of_the_leader(descriptors)
        without_http(descriptors)
        bare = scratch / "bare.ds"
        bare.write_bytes(descriptors.SerializeToString())
        made = scratch / "made"
        made.mkdir()
        outputs = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
        plugin = f"--plugin=protoc-gen-grpc_python={found('grpc_python_plugin')}"
        protoc(f"--descriptor_set_in={bare}", plugin, *outputs, *files)
        api = Api(descriptors, leaders)
        (made / "pvc" / "v1" / "api.py").write_text(api.render())
        (made / "pvc" / "v1" / "__init__.py").write_text(api.render_package())
        # Empty, but for a message: there is no service in it.
        (made / "pvc" / "details_pb2_grpc.py").unlink()
        replace(made / "pvc")


def protoc(*arguments):
    if subprocess.run([found("protoc"), *map(str, arguments)]).returncode != 0:
        sys.exit("generate.py: protoc failed")


def found(program):
    return shutil.which(program) or sys.exit(f"generate.py: there is no {program}; see scripts/install-deps.sh")


def replace(made):
    """Puts what was made in place of what was there."""
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(made / "v1", OUT)
    for path in made.glob("details_pb2*"):
        shutil.copy(path, HERE / "pvc")


def without_http(descriptors):
    """Takes google.api.http away: clients need no HTTP rules, and may have a google/api of their own."""
    keep = [file for file in descriptors.file if not file.name.startswith("google/api/")]
    del descriptors.file[:]
    for file in keep:
        kept = [name for name in file.dependency if not name.startswith("google/api/")]
        del file.dependency[:]
        file.dependency.extend(kept)
        for service in file.service:
            for method in service.method:
                method.ClearField("options")
        descriptors.file.append(file)


def methods_of_the_leader(descriptors):
    """Full names of the methods that only the leader serves."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    # The first is of newer releases, the second of Debian 12's.
    get_class = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    options = get_class(pool.FindMessageTypeByName("google.protobuf.MethodOptions"))
    authz = pool.FindExtensionByName("pvc.v1.authz")
    leader = pool.FindEnumTypeByName("pvc.v1.ServedBy").values_by_name["SERVED_BY_LEADER"].number
    found = set()
    for file in descriptors.file:
        for service in file.service:
            for method in service.method:
                said = options.FromString(method.options.SerializeToString())
                if said.Extensions[authz].served_by == leader:
                    found.add(f"{file.package}.{service.name}.{method.name}")
    return found


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Api:
    """The public package, as far as api.py needs it."""

    def __init__(self, descriptors, leaders):
        self.leaders = leaders
        self.messages = {}
        self.comments = {}
        self.files = [file for file in descriptors.file if file.package == PACKAGE]
        for file in self.files:
            places = {tuple(place.path): place for place in file.source_code_info.location}

            def comment(*path, places=places):
                place = places.get(path)
                text = place and (place.leading_comments or place.trailing_comments) or ""
                return " ".join(line.strip() for line in text.splitlines()).strip()

            for at, message in enumerate(file.message_type):
                name = f".{PACKAGE}.{message.name}"
                self.messages[name] = message
                self.comments[name] = [comment(4, at, 2, number) for number in range(len(message.field))]
            for at, service in enumerate(file.service):
                for number, method in enumerate(service.method):
                    self.comments[service.name, method.name] = comment(6, at, 2, number)

    def render(self):
        names = set()
        methods, table = [], []
        for file in self.files:
            for service in file.service:
                for method in service.method:
                    name = snake(method.name)
                    if name in names or name in TAKEN or keyword.iskeyword(name):
                        sys.exit(f"generate.py: the name {name} of {service.name}.{method.name} is taken")
                    names.add(name)
                    table.append(self.row(name, service, method))
                    methods.append(self.method(name, service, method))
        return (
            f"{MADE}\n"
            "from pvc.method import Caller, Method\n"
            "from pvc import v1\n\n\n"
            "class Api(Caller):\n"
            '    """A Python method for each public method of the cluster.\n\n'
            "    Arguments are the fields of the request; what is not given is not set. A message may be given as a\n"
            "    dict, an enum's value as its name. `timeout` is seconds for the call with all its attempts.\n"
            '    """\n\n' + "\n".join(methods) + "\n\nMETHODS = {\n" + "".join(table) + "}\n"
        )

    def row(self, name, service, method):
        full = f"{PACKAGE}.{service.name}.{method.name}"
        return (
            f'    "{name}": Method("/{PACKAGE}.{service.name}/{method.name}", '
            f"v1.{last(method.input_type)}, v1.{last(method.output_type)}, {full in self.leaders}),\n"
        )

    def method(self, name, service, method):
        comment = self.comments[service.name, method.name]
        answer = last(method.output_type)
        if method.client_streaming:
            gives = f"`requests` gives {last(method.input_type)}; answers are {answer}, as they come."
            said = wrapped(comment, gives)
            return (
                f"    def {name}(self, requests, *, timeout=None):\n{said}"
                f'        return self._both_ways(METHODS["{name}"], requests, timeout)\n'
            )
        fields = [field.name for field in self.messages[method.input_type].field]
        about = [f"{field}: {text}" for field, text in zip(fields, self.comments[method.input_type]) if text]
        resumable = method.server_streaming and self.is_watch(method)
        kind = "_watch" if resumable else "_stream" if method.server_streaming else "_unary"
        gives = {
            "_watch": f"Gives {answer} for ever: see pvc.watch.",
            "_stream": f"Gives {answer} as they come.",
            "_unary": f"Answers {answer}.",
        }[kind]
        said = wrapped(comment, *about, gives)
        # What is asked about may be given without its name: client.get_vm("web1").
        first = self.messages[method.input_type].field[:1]
        named = 1 if first and first[0].type == FIELD.TYPE_STRING else 0
        for field in filter(keyword.iskeyword, fields):
            sys.exit(f"{method}: the field {field} can't be an argument in Python: give it another name")
        words = [f"{field}=None" for field in fields]
        arguments = ", ".join(["self", *words[:named], "*", *words[named:], "timeout=None"])
        given = ", ".join(f"{field}={field}" for field in fields)
        return (
            f"    def {name}({arguments}):\n{said}"
            f'        method = METHODS["{name}"]\n'
            f"        return self.{kind}(method, method.request({given}), timeout)\n"
        )

    def is_watch(self, method):
        asks, answers = (
            {field.name for field in self.messages[name].field} for name in (method.input_type, method.output_type)
        )
        return "start_revision" in asks and {"kind", "revision"} <= answers

    def render_package(self):
        lines = [MADE]
        for file in self.files:
            names = [thing.name for thing in (*file.enum_type, *file.message_type)]
            names += [value.name for enum in file.enum_type for value in enum.value]
            module = pathlib.PurePosixPath(file.name).stem + "_pb2"
            lines.append(f"from pvc.v1.{module} import (")
            lines += [f"    {name}," for name in names]
            lines.append(")")
        return "\n".join(lines) + "\n"


def last(name):
    return name.rsplit(".", 1)[-1]


def wrapped(*paragraphs):
    filled = "\n\n".join(textwrap.fill(part, 96, break_long_words=False) for part in paragraphs if part)
    filled = filled.replace("\\", "\\\\").replace('"""', "'''")
    return textwrap.indent(f'"""{filled}\n"""\n', "        ", lambda line: line.strip())


if __name__ == "__main__":
    main()
