//! `TaskService`.

use std::cmp::Reverse;

use pvc_model::{Command, Name};
use pvc_proto::convert::{At, task_state};
use pvc_proto::v1;
use pvc_proto::v1::task_service_server::TaskService;
use tonic::{Request, Response, Status};

use super::answers::{Answers, Sink, answers};
use super::caller::Caller;
use super::listing::Page;
use super::shared::{Shared, name, refuse};
use crate::status;

/// Serves tasks.
pub struct Tasks(pub Shared);

#[tonic::async_trait]
impl TaskService for Tasks {
    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)?;
        let state = task_state(&At::new("request").field("state"), request.state).map_err(refuse)?;
        let world = self.0.page_world(request.consistency, page.revision).await?;
        // Newest first: by the time, then by the name, so that a page's end is a definite place.
        let key = |task: &pvc_model::Task| format!("{:020}-{}", task.started.0, task.meta.name);
        let mut matching: Vec<_> = world
            .tasks
            .values()
            .filter(|task| {
                (request.subject.is_empty() || task.subject.to_string() == request.subject)
                    && state.is_none_or(|state| task.state == state)
                    && page.after.as_ref().is_none_or(|after| key(task) < *after)
            })
            .collect();
        matching.sort_by_cached_key(|task| Reverse(key(task)));
        let (found, next_page_token) = page.cut(matching.into_iter(), world.revision, |task| key(task));
        let tasks = found.into_iter().map(|task| self.0.show_task(task)).collect();
        Ok(Response::new(v1::ListTasksResponse { tasks, next_page_token, revision: world.revision }))
    }

    async fn get_task(&self, request: Request<v1::GetTaskRequest>) -> Result<Response<v1::Task>, Status> {
        let request = request.into_inner();
        let task = name("task", "name", &request.name)?;
        let world = self.0.world(request.consistency).await?;
        Ok(Response::new(self.0.show_task(world.task(&task).map_err(refuse)?)))
    }

    type WatchTaskStream = Answers<v1::Task>;

    async fn watch_task(
        &self,
        request: Request<v1::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let task = name("task", "name", &request.into_inner().name)?;
        let world = self.0.world(0).await?;
        world.task(&task).map_err(refuse)?;
        let shared = self.0.clone();
        Ok(Response::new(answers(&self.0.closing, move |sink| follow(shared, task, sink))))
    }

    async fn cancel_task(
        &self,
        request: Request<v1::CancelTaskRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::CancelTask { name: name("task", "name", &request.name)? };
        let committed = self.0.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(self.0.reply_task(&committed)?))
    }
}

/// Tells each new state of a task, until it is over. Progress is known to the leader only: when it no
/// longer leads, the stream ends and the client asks its successor.
async fn follow(shared: Shared, name: Name, sink: Sink<v1::Task>) -> Result<(), Status> {
    let mut worlds = shared.core.worlds();
    let mut progress = shared.core.heartbeats().progress_changes();
    let mut leading = shared.core.leadership();
    leading.mark_unchanged();
    let mut told = None;
    loop {
        let world = worlds.borrow_and_update().clone();
        let task = world.task(&name).map_err(refuse)?;
        let shown = shared.show_task(task);
        if told.as_ref() != Some(&shown) {
            sink.send(shown.clone()).await?;
            told = Some(shown);
        }
        if task.is_over() {
            return Ok(());
        }
        let open = tokio::select! {
            changed = worlds.changed() => changed.is_ok(),
            changed = progress.changed() => changed.is_ok(),
            _ = leading.changed() => return Err(status::not_leader(shared.leader().as_ref())),
        };
        if !open {
            return Err(status::stopping());
        }
    }
}
