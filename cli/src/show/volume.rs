//! Volumes and their snapshots.

use pvc_proto::v1::{Volume, VolumePhase, VolumeSnapshot};

use super::words::{choice, name, time};
use crate::output::Tone;
use crate::output::page::Page;
use crate::output::table::{Cell, Column, figures, optional, render, text};
use crate::spec::size::show_bytes;

const COLUMNS: &[Column] = &[
    text("NAME"),
    text("POOL"),
    text("STATE"),
    figures("SIZE"),
    text("USED BY"),
    figures("SNAPSHOTS"),
    optional("CLONE OF"),
    optional("NOTE"),
];

fn phase(volume: &Volume) -> VolumePhase {
    volume.status.as_ref().map_or(VolumePhase::Unspecified, |status| status.phase())
}

/// The state in one word.
pub fn state(volume: &Volume) -> String {
    choice(phase(volume).as_str_name(), "VOLUME_PHASE_")
}

fn tone(volume: &Volume) -> Tone {
    match phase(volume) {
        VolumePhase::Ready => Tone::Good,
        VolumePhase::Creating | VolumePhase::Deleting => Tone::Busy,
        VolumePhase::Failed | VolumePhase::Unspecified => Tone::Bad,
    }
}

fn size(volume: &Volume) -> String {
    let wanted = volume.spec.as_ref().map_or(0, |spec| spec.size_bytes);
    let has = volume.status.as_ref().map_or(0, |status| status.size_bytes);
    show_bytes(if has == 0 { wanted } else { has })
}

fn origin(volume: &Volume) -> String {
    let Some(spec) = &volume.spec else { return String::new() };
    if spec.clone_snapshot.is_empty() {
        spec.clone_of.clone()
    } else {
        format!("{}@{}", spec.clone_of, spec.clone_snapshot)
    }
}

pub fn table(volumes: &[&Volume], colour: bool) -> String {
    render(COLUMNS, volumes.iter().map(|one| row(one)).collect(), colour)
}

fn row(volume: &Volume) -> Vec<Cell> {
    let status = volume.status.clone().unwrap_or_default();
    vec![
        name(volume.meta.as_ref()).into(),
        volume.spec.as_ref().map_or("", |spec| spec.pool.as_str()).into(),
        Cell::toned(state(volume), tone(volume)),
        size(volume).into(),
        volume.used_by.as_str().into(),
        status.snapshots.len().to_string().into(),
        origin(volume).into(),
        status.reason.into(),
    ]
}

/// Everything that is known of it.
pub fn page(volume: &Volume, colour: bool) -> String {
    let meta = volume.meta.clone().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    let status = volume.status.clone().unwrap_or_default();
    let growing = status.size_bytes != 0 && spec.size_bytes > status.size_bytes;
    let snapshots: Vec<String> = status.snapshots.iter().map(snapshot_line).collect();
    Page::new(colour)
        .row("Name", &meta.name)
        .row("UID", &meta.uid)
        .row("Pool", &spec.pool)
        .toned("State", state(volume), tone(volume))
        .row("Reason", &status.reason)
        .row("Size", size(volume))
        .row("Grows to", if growing { show_bytes(spec.size_bytes) } else { String::new() })
        .row("Clone of", origin(volume))
        .row("Used by", if volume.used_by.is_empty() { "no VM" } else { &volume.used_by })
        .row("Worked on by", &status.worker)
        .row("Task", &status.task)
        .section("Snapshots", &snapshots)
        .row("Revision", meta.revision.to_string())
        .row("Created", time(meta.create_time.as_ref()))
        .finish()
}

fn snapshot_state(snapshot: &VolumeSnapshot) -> (&'static str, Tone) {
    match (snapshot.deleting, snapshot.ready) {
        (true, _) => ("deleting", Tone::Busy),
        (false, true) => ("ready", Tone::Good),
        (false, false) => ("creating", Tone::Busy),
    }
}

fn snapshot_line(snapshot: &VolumeSnapshot) -> String {
    format!("{} ({}, {})", snapshot.name, show_bytes(snapshot.size_bytes), snapshot_state(snapshot).0)
}

/// The snapshots of one volume.
pub fn snapshots(snapshots: &[VolumeSnapshot], colour: bool) -> String {
    let columns = [text("NAME"), text("STATE"), figures("SIZE")];
    let row = |snapshot: &VolumeSnapshot| {
        let (state, tone) = snapshot_state(snapshot);
        vec![snapshot.name.as_str().into(), Cell::toned(state, tone), show_bytes(snapshot.size_bytes).into()]
    };
    render(&columns, snapshots.iter().map(row).collect(), colour)
}
