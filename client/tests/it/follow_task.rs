//! A task is followed past every break, and not past a refusal.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pvc_client::{Client, Coordinators, Options, Trust};
use pvc_identity::{ExpectedPeer, Identity};
use pvc_proto::v1;
use pvc_proto::v1::task_service_server::{TaskService, TaskServiceServer};
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::tls;

/// Tells that the task runs and breaks off with `code`; the second stream tells its end.
struct Tasks {
    code: Code,
    opened: Arc<AtomicUsize>,
}

fn task(state: v1::TaskState) -> v1::Task {
    v1::Task { state: state.into(), ..Default::default() }
}

#[tonic::async_trait]
impl TaskService for Tasks {
    async fn list_tasks(
        &self,
        _: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        Err(Status::permission_denied("not here"))
    }

    async fn get_task(&self, _: Request<v1::GetTaskRequest>) -> Result<Response<v1::Task>, Status> {
        Err(Status::permission_denied("not here"))
    }

    type WatchTaskStream = Pin<Box<dyn Stream<Item = Result<v1::Task, Status>> + Send>>;

    async fn watch_task(
        &self,
        _: Request<v1::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let told = if self.opened.fetch_add(1, Ordering::Relaxed) == 0 {
            vec![Ok(task(v1::TaskState::Running)), Err(Status::new(self.code, "it broke"))]
        } else {
            vec![Ok(task(v1::TaskState::Succeeded))]
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(told))))
    }

    async fn cancel_task(&self, _: Request<v1::CancelTaskRequest>) -> Result<Response<v1::Task>, Status> {
        Err(Status::permission_denied("not here"))
    }
}

/// Follows a task whose first stream breaks off with `code`: how it ended, states seen, streams opened.
async fn follow(code: Code) -> (Result<v1::TaskState, Code>, usize, usize) {
    let ca = tls::ca();
    let opened = Arc::new(AtomicUsize::new(0));
    let service = TaskServiceServer::new(Tasks { code, opened: Arc::clone(&opened) });
    let address = tls::serve(&ca, "hv1", Routes::new(service)).await;
    let trust = Trust::Mutual(tls::store(&ca, Identity::admin("root").unwrap()), ExpectedPeer::AnyNode);
    let client = Client::over(Coordinators::new(&[address], trust, Options::default()));
    let mut seen = 0;
    let followed = client.follow_task("t-1", |_| seen += 1);
    let ended = tokio::time::timeout(Duration::from_secs(20), followed).await.expect("it ends");
    (ended.map(|task| task.state()).map_err(|error| error.code), seen, opened.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_again() {
    for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::ResourceExhausted] {
        assert_eq!(follow(code).await, (Ok(v1::TaskState::Succeeded), 2, 2), "{code:?}");
    }
}

#[tokio::test]
async fn a_refusal_ends_it() {
    for code in [Code::NotFound, Code::PermissionDenied, Code::Unauthenticated, Code::InvalidArgument] {
        assert_eq!(follow(code).await, (Err(code), 1, 1), "{code:?}");
    }
}
