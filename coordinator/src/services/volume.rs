//! `VolumeService`.

use pvc_model::{Command, Volume, World};
use pvc_proto::convert::{At, volume_spec, volume_view};
use pvc_proto::v1;
use pvc_proto::v1::volume_service_server::VolumeService;
use tonic::{Request, Response, Status};

use super::answers::Answers;
use super::caller::Caller;
use super::listing::{Page, name_filter};
use super::shared::{Shared, name, optional_name, refuse};
use super::watching::Watch;

/// Serves volumes.
pub struct Volumes(pub Shared);

impl Volumes {
    async fn task(&self, caller: Caller, command: Command, id: &str) -> Result<Response<v1::Task>, Status> {
        let committed = self.0.submit(&caller, command, id).await?;
        Ok(Response::new(self.0.reply_task(&committed)?))
    }
}

#[tonic::async_trait]
impl VolumeService for Volumes {
    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)?;
        let filter = name_filter(&request.name_filter)?;
        let pool = optional_name("pool", "pool", &request.pool)?;
        let after = page.after_name()?;
        let world = self.0.page_world(request.consistency, page.revision).await?;
        let matching = world.volumes.values().filter(|volume| {
            after.as_ref().is_none_or(|after| volume.meta.name > *after)
                && filter.as_ref().is_none_or(|filter| filter.is_match(volume.meta.name.as_str()))
                && pool.as_ref().is_none_or(|pool| volume.spec.pool == *pool)
        });
        let (found, next_page_token) = page.cut(matching, world.revision, |v| v.meta.name.to_string());
        let volumes = found.into_iter().map(|volume| volume_view(&world, volume)).collect();
        Ok(Response::new(v1::ListVolumesResponse { volumes, next_page_token, revision: world.revision }))
    }

    async fn get_volume(
        &self,
        request: Request<v1::GetVolumeRequest>,
    ) -> Result<Response<v1::Volume>, Status> {
        let request = request.into_inner();
        let volume = name("volume", "name", &request.name)?;
        let world = self.0.world(request.consistency).await?;
        let volume = world.volume(&volume).map_err(refuse)?;
        Ok(Response::new(volume_view(&world, volume)))
    }

    async fn create_volume(
        &self,
        request: Request<v1::CreateVolumeRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let volume = name("volume", "name", &request.name)?;
        let subject = format!("volume/{volume}");
        let root = At::new(&subject);
        let at = root.field("spec");
        let wire = at.present(request.spec.as_ref()).map_err(refuse)?;
        let spec = volume_spec(&at, wire).map_err(refuse)?;
        self.task(caller, Command::CreateVolume { name: volume, spec }, &request.request_id).await
    }

    async fn resize_volume(
        &self,
        request: Request<v1::ResizeVolumeRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::ResizeVolume {
            name: name("volume", "name", &request.name)?,
            size_bytes: request.size_bytes,
            expected_revision: request.expected_revision,
        };
        self.task(caller, command, &request.request_id).await
    }

    async fn delete_volume(
        &self,
        request: Request<v1::DeleteVolumeRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::DeleteVolume {
            name: name("volume", "name", &request.name)?,
            expected_revision: request.expected_revision,
        };
        self.task(caller, command, &request.request_id).await
    }

    async fn create_volume_snapshot(
        &self,
        request: Request<v1::CreateVolumeSnapshotRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::CreateVolumeSnapshot {
            volume: name("volume", "volume", &request.volume)?,
            snapshot: name("snapshot", "snapshot", &request.snapshot)?,
        };
        self.task(caller, command, &request.request_id).await
    }

    async fn delete_volume_snapshot(
        &self,
        request: Request<v1::DeleteVolumeSnapshotRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::DeleteVolumeSnapshot {
            volume: name("volume", "volume", &request.volume)?,
            snapshot: name("snapshot", "snapshot", &request.snapshot)?,
        };
        self.task(caller, command, &request.request_id).await
    }

    type WatchVolumesStream = Answers<v1::VolumeChange>;

    async fn watch_volumes(
        &self,
        request: Request<v1::WatchVolumesRequest>,
    ) -> Result<Response<Self::WatchVolumesStream>, Status> {
        let request = request.into_inner();
        let filter = name_filter(&request.name_filter)?;
        let watch = Watch {
            matches: Box::new(move |volume: &Volume| {
                filter.as_ref().is_none_or(|filter| filter.is_match(volume.meta.name.as_str()))
            }),
            message,
            touched: |_, _| Vec::new(),
        };
        Ok(Response::new(watch.run(&self.0, request.start_revision)))
    }
}

fn message(
    _: &Shared,
    world: &World,
    kind: v1::ChangeKind,
    volume: Option<&Volume>,
    revision: u64,
) -> v1::VolumeChange {
    let volume = volume.map(|volume| volume_view(world, volume));
    v1::VolumeChange { kind: kind.into(), volume, revision }
}
