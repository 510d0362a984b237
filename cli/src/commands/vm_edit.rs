//! `pvc vm`: defining VMs and changing their specs.

use std::io::Read;
use std::path::Path;

use pvc_proto::v1::{CreateVmRequest, UpdateVmRequest, Vm, VmSpec};

use super::vm::get;
use crate::args::vm::{Define, MemoryCommand, Meta, Modify, TagCommand, VcpuCommand};
use crate::call::request_id;
use crate::context::Context;
use crate::failure::Failure;
use crate::show;
use crate::spec;
use crate::spec::flags::{method_of, pair};
use crate::spec::size::show_mib;

/// Larger than the largest object that the cluster stores.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub async fn define(cx: &mut Context<'_>, define: Define) -> Result<(), Failure> {
    let (mut vm_spec, origin) = match (&define.file, &define.xml) {
        (Some(path), _) => {
            let (text, origin) = read_text(cx, path)?;
            (spec::read_yaml(&text, &origin)?, origin)
        }
        (None, Some(path)) => {
            let (text, origin) = read_text(cx, path)?;
            let size = spec::xml::read(&text)
                .map_err(|e| Failure::usage(&origin, e.to_string()).rule("xml-must-be-a-domain"))?;
            let vm_spec = VmSpec {
                vcpus: size.vcpus.unwrap_or(1),
                memory_mib: size.memory_mib.unwrap_or(0),
                raw_xml: text,
                ..VmSpec::default()
            };
            (vm_spec, origin)
        }
        (None, None) => (VmSpec::default(), format!("vm/{}", define.vm)),
    };
    spec::flags::apply(&define.spec, &mut vm_spec)?;
    spec::require(&vm_spec, &origin)?;

    let session = cx.session()?;
    let request = session.ask(CreateVmRequest {
        name: define.vm.clone(),
        spec: Some(vm_spec),
        validate_only: define.dry_run,
        request_id: request_id(),
    });
    let vm = session.vms().create_vm(request).await?.into_inner();
    let sentence = if define.dry_run {
        format!("vm/{} could be defined", define.vm)
    } else {
        format!("vm/{} defined", define.vm)
    };
    cx.done(&vm, &define.vm, sentence)
}

pub async fn modify(cx: &mut Context<'_>, modify: Modify) -> Result<(), Failure> {
    let mut request = UpdateVmRequest {
        name: modify.vm.clone(),
        vcpus: modify.vcpus,
        memory_mib: modify.memory,
        add_tags: modify.add_tag.clone(),
        remove_tags: modify.remove_tag.clone(),
        remove_meta: modify.unset.clone(),
        expected_revision: modify.expected.expected_revision,
        validate_only: modify.dry_run,
        ..UpdateVmRequest::default()
    };
    set_notes(&mut request, &modify.set)?;
    if let Some(path) = &modify.file {
        let (text, origin) = read_text(cx, path)?;
        let vm_spec = spec::read_yaml(&text, &origin)?;
        spec::require(&vm_spec, &origin)?;
        request.spec = Some(vm_spec);
    }
    update(cx, request).await
}

pub async fn meta(cx: &mut Context<'_>, meta: Meta) -> Result<(), Failure> {
    if meta.only_shows() {
        let vm = get(cx, &meta.vm).await?;
        return cx.reply(&vm, |colour| show::vm::settings(&vm, colour), || vec![meta.vm]);
    }
    let limit = meta.node_limit.as_deref();
    let mut request = UpdateVmRequest {
        name: meta.vm.clone(),
        remove_meta: meta.unset.clone(),
        migration_method: meta.migration_method.map(|method| method_of(Some(method)) as i32),
        migration_max_downtime_ms: meta.max_downtime,
        node_limit: limit.map(nodes_of).unwrap_or_default(),
        set_node_limit: limit.is_some(),
        priority: meta.priority,
        recover: meta.recover,
        expected_revision: meta.expected.expected_revision,
        ..UpdateVmRequest::default()
    };
    set_notes(&mut request, &meta.set)?;
    update(cx, request).await
}

fn nodes_of(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|node| !node.is_empty()).map(str::to_owned).collect()
}

pub async fn tag(cx: &mut Context<'_>, command: TagCommand) -> Result<(), Failure> {
    match command {
        TagCommand::Get { vm } => {
            let reply = get(cx, &vm).await?;
            let tags = reply.spec.as_ref().map_or(Vec::new(), |vm_spec| vm_spec.tags.clone());
            let lines: String = tags.iter().map(|tag| format!("{tag}\n")).collect();
            cx.reply(&reply, |_| lines, || tags)
        }
        TagCommand::Add { vm, tags } => {
            update(cx, UpdateVmRequest { name: vm, add_tags: tags, ..UpdateVmRequest::default() }).await
        }
        TagCommand::Remove { vm, tags } => {
            update(cx, UpdateVmRequest { name: vm, remove_tags: tags, ..UpdateVmRequest::default() }).await
        }
    }
}

pub async fn vcpu(cx: &mut Context<'_>, command: VcpuCommand) -> Result<(), Failure> {
    match command {
        VcpuCommand::Get { vm } => {
            let reply = get(cx, &vm).await?;
            let count = reply.spec.as_ref().map_or(0, |vm_spec| vm_spec.vcpus);
            cx.reply(&reply, |_| format!("{count}\n"), || vec![vm])
        }
        VcpuCommand::Set { vm, count } => {
            let request = UpdateVmRequest { name: vm, vcpus: Some(count), ..UpdateVmRequest::default() };
            update(cx, request).await
        }
    }
}

pub async fn memory(cx: &mut Context<'_>, command: MemoryCommand) -> Result<(), Failure> {
    match command {
        MemoryCommand::Get { vm } => {
            let reply = get(cx, &vm).await?;
            let mib = reply.spec.as_ref().map_or(0, |vm_spec| vm_spec.memory_mib);
            cx.reply(&reply, |_| format!("{}\n", show_mib(mib)), || vec![vm])
        }
        MemoryCommand::Set { vm, size } => {
            let request = UpdateVmRequest { name: vm, memory_mib: Some(size), ..UpdateVmRequest::default() };
            update(cx, request).await
        }
    }
}

async fn update(cx: &mut Context<'_>, mut request: UpdateVmRequest) -> Result<(), Failure> {
    request.request_id = request_id();
    let name = request.name.clone();
    let dry_run = request.validate_only;
    let session = cx.session()?;
    let vm = session.vms().update_vm(session.ask(request)).await?.into_inner();
    let sentence = if dry_run { format!("vm/{name} could be changed") } else { changed(&name, &vm) };
    cx.done(&vm, &name, sentence)
}

/// What is changed, and when it takes effect.
fn changed(name: &str, vm: &Vm) -> String {
    format!("vm/{name} changed{}", when(name, vm))
}

/// When a change takes effect, unless at once.
pub(super) fn when(name: &str, vm: &Vm) -> String {
    if vm.status.as_ref().is_some_and(|status| status.restart_pending) {
        format!("; it takes effect at its next start (pvc vm restart {name})")
    } else {
        String::new()
    }
}

fn set_notes(request: &mut UpdateVmRequest, notes: &[String]) -> Result<(), Failure> {
    for text in notes {
        let (key, value) = pair(text, "--set")?;
        request.set_meta.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

/// A file's text and its name for errors; - is stdin.
fn read_text(cx: &mut Context<'_>, path: &Path) -> Result<(String, String), Failure> {
    let from_stdin = path == Path::new("-");
    let origin = if from_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let fail = |e: &std::io::Error| Failure::usage(&origin, e.to_string()).rule("file-must-be-readable");
    let mut bytes = Vec::new();
    if from_stdin {
        let input = cx.io.input.take();
        if let Some(input) = input {
            input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| fail(&e))?;
        }
    } else {
        let file = std::fs::File::open(path).map_err(|e| fail(&e))?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| fail(&e))?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(&origin, "it is larger than 1 MiB").rule("file-must-be-small"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(&origin, "it is not UTF-8 text").rule("file-must-be-readable"))?;
    Ok((text, origin))
}
