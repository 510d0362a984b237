//! What every public method has: a comment, its HTTP rule, its role, its command and its Python method.
//! A method that lacks one of them fails the build, and so does a table that names what is not there.
//!
//! Read from the .proto files and the two tables themselves, never from what is generated from them: the
//! check stands when nothing else of the house can be built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

const PACKAGE: &str = "pvc.v1";
const PROTOS: &str = "proto/proto";
const COMMANDS: &str = "cli/src/coverage.rs";
const PYTHON: &str = "python/methods.txt";

/// One public method, and what the .proto files say of it.
struct Method {
    path: String,
    comment: String,
    http: bool,
    streams_both_ways: bool,
    role: bool,
    served_by: bool,
}

pub fn check(root: &Path) -> Result<()> {
    let methods = methods(&root.join(PROTOS))?;
    let read = |file: &str| fs::read_to_string(root.join(file)).with_context(|| file.to_owned());
    let commands = commands(&read(COMMANDS)?)?;
    let python = python(&read(PYTHON)?)?;
    let mut lacking = Vec::new();
    for method in &methods {
        lacking.extend(lacks(method, &commands, &python));
    }
    let known: BTreeSet<&str> = methods.iter().map(|method| method.path.as_str()).collect();
    for (table, paths) in [(COMMANDS, &commands), (PYTHON, &python)] {
        for path in paths.keys().filter(|path| !known.contains(path.as_str())) {
            lacking.push(format!("{path} stands in {table}, and there is no such public method"));
        }
    }
    if lacking.is_empty() {
        println!("parity: {} public methods, each with all that it needs", methods.len());
        return Ok(());
    }
    bail!("the API is not the same everywhere:\n  {}", lacking.join("\n  "))
}

type Table = BTreeMap<String, Vec<String>>;

fn lacks(method: &Method, commands: &Table, python: &Table) -> Vec<String> {
    let path = &method.path;
    let mut lacking = Vec::new();
    if method.comment.is_empty() {
        lacking.push(format!("{path} has no comment; the documents, and help(), are made from it"));
    }
    let socket = method.streams_both_ways && method.comment.contains("WebSocket");
    if !method.http && !socket {
        lacking.push(format!(
            "{path} has no HTTP rule: option (google.api.http); only a stream both ways goes without, and its \
             comment says where its WebSocket is"
        ));
    }
    if !method.role {
        lacking.push(format!("{path} has no role: option (pvc.v1.authz)"));
    }
    if !method.served_by {
        lacking.push(format!("{path} does not say who serves it: option (pvc.v1.authz)"));
    }
    if !commands.contains_key(path) {
        lacking.push(format!("{path} has no command: a line in {COMMANDS}"));
    }
    if !python.contains_key(path) {
        lacking.push(format!("{path} has no Python method: a line in {PYTHON}"));
    }
    lacking
}

fn methods(protos: &Path) -> Result<Vec<Method>> {
    let folder = protos.join(PACKAGE.replace('.', "/"));
    let mut compiler = protox::Compiler::new([protos])?;
    compiler.include_imports(true).include_source_info(true);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        files.push(entry?.path());
    }
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "proto")) {
        compiler.open_file(file)?;
    }
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice())?;
    let public = pool.services().filter(|service| service.package_name() == PACKAGE);
    Ok(public.flat_map(|service| service.methods().collect::<Vec<_>>()).map(|m| method(&pool, &m)).collect())
}

fn method(pool: &DescriptorPool, method: &MethodDescriptor) -> Method {
    let options = method.options();
    let authz = extension(pool, &options, "pvc.v1.authz");
    let says = |field: &str| {
        let value = authz.as_ref().and_then(|authz| authz.get_field_by_name(field)?.as_enum_number());
        value.is_some_and(|number| number != 0)
    };
    Method {
        path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        comment: comment(method),
        http: extension(pool, &options, "google.api.http").is_some(),
        streams_both_ways: method.is_client_streaming() && method.is_server_streaming(),
        role: says("role"),
        served_by: says("served_by"),
    }
}

fn extension(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name(name)?;
    let set = options.has_extension(&extension);
    set.then(|| options.get_extension(&extension).as_message().cloned()).flatten()
}

fn comment(method: &MethodDescriptor) -> String {
    let file = method.parent_file();
    let source = file.file_descriptor_proto().source_code_info.as_ref();
    let location = source.and_then(|info| info.location.iter().find(|l| l.path == method.path()));
    location.and_then(|l| l.leading_comments.as_deref()).unwrap_or("").trim().to_owned()
}

/// The table of commands: pairs of texts, whichever way rustfmt breaks their lines. That each command is there
/// is checked beside the table.
fn commands(source: &str) -> Result<Table> {
    let body = source
        .split_once("COVERAGE")
        .and_then(|(_, rest)| rest.split_once("= &[")?.1.split_once("];"))
        .map(|(body, _)| body)
        .with_context(|| format!("{COMMANDS} has no table COVERAGE"))?;
    // Between quotes is every second piece.
    let texts: Vec<&str> = body.split('"').skip(1).step_by(2).collect();
    let (pairs, rest) = texts.as_chunks::<2>();
    if !rest.is_empty() {
        bail!("{COMMANDS}: the table COVERAGE is not one of pairs");
    }
    Ok(table(pairs.iter().map(|[path, command]| (*path, *command))))
}

/// The table of Python methods: path and name on each line. That each is there is checked by a Python test.
fn python(text: &str) -> Result<Table> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [path, name] => Ok((path, name)),
        _ => bail!("{PYTHON}: {line:?} is not a path and a name"),
    });
    Ok(table(pairs.collect::<Result<Vec<_>>>()?.into_iter()))
}

fn table<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Table {
    let mut table = Table::new();
    for (path, what) in pairs {
        table.entry(path.to_owned()).or_default().push(what.to_owned());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: &str = "option (google.api.http) = {get: \"/api/v1/things/{name}\"};";
    const AUTHZ: &str = "option (authz) = {role: ROLE_VIEWER served_by: SERVED_BY_ANY};";
    const COMMAND: &str = "pub const COVERAGE: &[(&str, &str)] = &[\n    (\n        \"/pvc.v1.ThingService/GetThing\",\n        \"thing info\",\n    ),\n];\n";
    const METHOD: &str = "# path, name\n/pvc.v1.ThingService/GetThing get_thing\n";

    /// A house with one public method, and what the check says of it.
    fn said(comment: &str, rpc: &str, options: &str, command: &str, method: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let put = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        let real = crate::root().join(PROTOS);
        for file in ["google/api/annotations.proto", "google/api/http.proto", "pvc/v1/authz.proto"] {
            let text = fs::read_to_string(real.join(file)).expect("is there");
            put(&format!("{PROTOS}/{file}"), &text);
        }
        let text = format!(
            "syntax = \"proto3\";\npackage pvc.v1;\nimport \"google/api/annotations.proto\";\n\
             import \"pvc/v1/authz.proto\";\nservice ThingService {{\n  {comment}\n  {rpc} {{ {options} }}\n}}\n\
             message Thing {{ string name = 1; }}\n"
        );
        put(&format!("{PROTOS}/pvc/v1/thing.proto"), &text);
        put(COMMANDS, command);
        put(PYTHON, method);
        check(root).map_or_else(|error| format!("{error:#}"), |()| "all there".to_owned())
    }

    const COMMENT: &str = "// Gets a thing.";
    const RPC: &str = "rpc GetThing(Thing) returns (Thing)";

    #[test]
    fn the_house_has_parity() {
        check(&crate::root()).expect("every public method has all that it needs");
    }

    #[test]
    fn each_thing_that_a_method_lacks_is_found() {
        let both = format!("{HTTP} {AUTHZ}");
        let none = "pub const COVERAGE: &[(&str, &str)] = &[];\n";
        assert_eq!(said(COMMENT, RPC, &both, COMMAND, METHOD), "all there");
        let half = "option (authz) = {role: ROLE_VIEWER};";
        for (comment, options, command, method, lacking) in [
            ("", both.as_str(), COMMAND, METHOD, "has no comment"),
            (COMMENT, AUTHZ, COMMAND, METHOD, "has no HTTP rule"),
            (COMMENT, HTTP, COMMAND, METHOD, "has no role"),
            (COMMENT, &format!("{HTTP} {half}"), COMMAND, METHOD, "does not say who serves it"),
            (COMMENT, &both, none, METHOD, "has no command"),
            (COMMENT, &both, COMMAND, "", "has no Python method"),
        ] {
            let said = said(comment, RPC, options, command, method);
            let expected = format!("/pvc.v1.ThingService/GetThing {lacking}");
            assert!(said.contains(&expected), "{expected}; but: {said}");
        }
    }

    #[test]
    fn only_a_documented_web_socket_goes_without_an_http_rule() {
        let socket = "// Over HTTP it is a WebSocket at /api/v1/things.";
        let rpc = "rpc GetThing(stream Thing) returns (stream Thing)";
        assert_eq!(said(socket, rpc, AUTHZ, COMMAND, METHOD), "all there");
        assert!(said(COMMENT, rpc, AUTHZ, COMMAND, METHOD).contains("has no HTTP rule"));
        assert!(said(socket, RPC, AUTHZ, COMMAND, METHOD).contains("has no HTTP rule"));
    }

    #[test]
    fn a_table_that_names_what_is_gone_is_found() {
        let both = format!("{HTTP} {AUTHZ}");
        let more = format!("{METHOD}/pvc.v1.ThingService/OldThing old_thing\n");
        let said = said(COMMENT, RPC, &both, COMMAND, &more);
        assert!(said.contains("OldThing stands in python/methods.txt"), "{said}");
    }
}
