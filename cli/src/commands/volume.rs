//! `pvc storage volume`.

use futures::stream::BoxStream;
use pvc_proto::v1::{
    CreateVolumeRequest, CreateVolumeSnapshotRequest, DeleteVolumeRequest, DeleteVolumeSnapshotRequest,
    GetVolumeRequest, ListVolumesRequest, ListVolumesResponse, Meta, ResizeVolumeRequest, Task, Volume,
    VolumeSpec, WatchVolumesRequest,
};

use crate::args::Wait;
use crate::args::storage::{SnapshotCommand, VolumeCommand, VolumeList};
use crate::call::{Session, request_id};
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::listing::{self, Listing};
use crate::show;

pub async fn run(cx: &mut Context<'_>, command: VolumeCommand) -> Result<(), Failure> {
    match command {
        VolumeCommand::Add { name, size, pool, wait } => {
            let spec = VolumeSpec { pool, size_bytes: size, ..VolumeSpec::default() };
            create(cx, name, spec, wait).await
        }
        VolumeCommand::List(list) => {
            let watch = list.watch;
            listing::run(cx, &list, watch).await
        }
        VolumeCommand::Info { name } => {
            let volume = get(cx, &name).await?;
            cx.reply(&volume, |colour| show::volume::page(&volume, colour), || vec![name])
        }
        VolumeCommand::Resize { name, size, wait } => {
            let session = cx.session()?;
            let request = session.ask(ResizeVolumeRequest {
                name,
                size_bytes: size,
                expected_revision: 0,
                request_id: request_id(),
            });
            let task = session.volumes().resize_volume(request).await?.into_inner();
            follow::finish(cx, task, wait).await
        }
        VolumeCommand::Clone { source, name, snapshot, pool, size, wait } => {
            let origin = get(cx, &source).await?.spec.unwrap_or_default();
            let spec = VolumeSpec {
                pool: pool.unwrap_or(origin.pool),
                size_bytes: size.unwrap_or(origin.size_bytes),
                clone_of: source,
                clone_snapshot: snapshot.unwrap_or_default(),
            };
            create(cx, name, spec, wait).await
        }
        VolumeCommand::Remove { name, wait } => {
            let subject = format!("volume/{name}");
            cx.confirm(&subject, &format!("{subject} is deleted, with its data and its snapshots"))?;
            let session = cx.session()?;
            let request =
                session.ask(DeleteVolumeRequest { name, expected_revision: 0, request_id: request_id() });
            let task = session.volumes().delete_volume(request).await?.into_inner();
            follow::finish(cx, task, wait).await
        }
        VolumeCommand::Snapshot(command) => snapshot(cx, command).await,
    }
}

async fn snapshot(cx: &mut Context<'_>, command: SnapshotCommand) -> Result<(), Failure> {
    let session = cx.session()?;
    let (task, wait): (Task, Wait) = match command {
        SnapshotCommand::Add { volume, snapshot, wait } => {
            let request =
                session.ask(CreateVolumeSnapshotRequest { volume, snapshot, request_id: request_id() });
            (session.volumes().create_volume_snapshot(request).await?.into_inner(), wait)
        }
        SnapshotCommand::Remove { volume, snapshot, wait } => {
            let subject = format!("volume/{volume}@{snapshot}");
            cx.confirm(&subject, &format!("snapshot {snapshot} of volume/{volume} is deleted"))?;
            let request =
                session.ask(DeleteVolumeSnapshotRequest { volume, snapshot, request_id: request_id() });
            (session.volumes().delete_volume_snapshot(request).await?.into_inner(), wait)
        }
        SnapshotCommand::List { volume } => {
            // The volume itself is the reply: its snapshots are part of its status.
            let reply = get(cx, &volume).await?;
            let snapshots = reply.status.as_ref().map_or(&[][..], |status| &status.snapshots);
            let names = || snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
            return cx.reply(&reply, |colour| show::volume::snapshots(snapshots, colour), names);
        }
    };
    follow::finish(cx, task, wait).await
}

async fn get(cx: &mut Context<'_>, name: &str) -> Result<Volume, Failure> {
    let session = cx.session()?;
    let request = session.ask(GetVolumeRequest { name: name.to_owned(), consistency: 0 });
    Ok(session.volumes().get_volume(request).await?.into_inner())
}

async fn create(cx: &mut Context<'_>, name: String, spec: VolumeSpec, wait: Wait) -> Result<(), Failure> {
    let session = cx.session()?;
    let request = session.ask(CreateVolumeRequest { name, spec: Some(spec), request_id: request_id() });
    let task = session.volumes().create_volume(request).await?.into_inner();
    follow::finish(cx, task, wait).await
}

impl Listing for VolumeList {
    type Reply = ListVolumesResponse;

    async fn page(&self, session: &Session, token: String) -> Result<ListVolumesResponse, Failure> {
        let request = ListVolumesRequest {
            name_filter: self.limit.clone().unwrap_or_default(),
            pool: self.pool.clone().unwrap_or_default(),
            page_token: token,
            ..ListVolumesRequest::default()
        };
        Ok(session.volumes().list_volumes(session.ask(request)).await?.into_inner())
    }

    async fn wakes(
        &self,
        session: &Session,
        revision: u64,
    ) -> Result<Option<BoxStream<'static, ()>>, Failure> {
        let name_filter = self.limit.clone().unwrap_or_default();
        let request = WatchVolumesRequest { name_filter, start_revision: revision };
        let changes = session.volumes().watch_volumes(request).await?.into_inner();
        Ok(Some(listing::wakes_of(changes)))
    }

    fn meta(volume: &Volume) -> Option<&Meta> {
        volume.meta.as_ref()
    }

    fn table(volumes: &[&Volume], colour: bool) -> String {
        show::volume::table(volumes, colour)
    }
}
