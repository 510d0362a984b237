//! A coordinator with one task in it, `t1`, on whose watch the first stream breaks off, and one node, `hv1`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use pvc_client::{Caller, incoming};
use pvc_identity::{Alpn, ClientAuth, ListenerOptions, TlsListener, TlsStore};
use pvc_proto::v1::node_service_server::NodeServiceServer;
use pvc_proto::v1::task_service_server::{TaskService, TaskServiceServer};
use pvc_proto::v1::{
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse, Meta, Task, TaskState,
    WatchTaskRequest,
};
use tonic::transport::server::Router;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::home::{Home, credentials};
use crate::nodes::OneNode;

/// Serves until the runtime ends; the address.
pub async fn serve(home: &Home) -> String {
    let tasks = TaskServiceServer::new(OneTask::default());
    let nodes = NodeServiceServer::new(OneNode);
    serve_with(home, tonic::transport::Server::builder().add_service(tasks).add_service(nodes)).await
}

/// The same with services of the test's own.
pub async fn serve_with(home: &Home, server: Router) -> String {
    let store = TlsStore::new(credentials(&home.ca, "node/hv1"), Timestamp::now()).unwrap();
    let options = ListenerOptions::new(ClientAuth::Optional, Alpn::H2);
    let listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), store, options);
    let listener = listener.await.unwrap();
    let address = listener.local_addr().to_string();
    tokio::spawn(async move { server.serve_with_incoming(incoming(listener)).await });
    address
}

/// The tasks of this subject are three, each on a page of its own.
pub const SEVERAL_PAGES: &str = "vm/paged";

#[derive(Default)]
struct OneTask {
    watched: AtomicU32,
}

fn task(state: TaskState, stage: &str) -> Task {
    Task {
        meta: Some(Meta { name: "t1".to_owned(), ..Meta::default() }),
        kind: "vm.start".to_owned(),
        subject: "vm/web1".to_owned(),
        state: state as i32,
        stage: stage.to_owned(),
        ..Task::default()
    }
}

/// The caller, as the TLS connection or the token tells.
fn who<T>(request: &Request<T>) -> String {
    let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    let caller = request.extensions().get::<Caller>().and_then(|caller| caller.peer.as_ref());
    match (caller, token) {
        (Some(peer), _) => peer.identity.to_string(),
        (None, Some(token)) => token.to_owned(),
        (None, None) => "nobody".to_owned(),
    }
}

#[tonic::async_trait]
impl TaskService for OneTask {
    async fn list_tasks(
        &self,
        request: Request<ListTasksRequest>,
    ) -> Result<Response<ListTasksResponse>, Status> {
        let mut only = task(TaskState::Running, "start");
        only.actor = who(&request);
        let ListTasksRequest { subject, page_token, .. } = request.into_inner();
        let mut reply = ListTasksResponse { tasks: vec![only], ..ListTasksResponse::default() };
        if subject == SEVERAL_PAGES {
            let page: u32 = if page_token.is_empty() { 1 } else { page_token.parse().unwrap() };
            reply.tasks[0].meta = Some(Meta { name: format!("t{page}"), ..Meta::default() });
            reply.next_page_token = if page < 3 { (page + 1).to_string() } else { String::new() };
        }
        Ok(Response::new(reply))
    }

    async fn get_task(&self, request: Request<GetTaskRequest>) -> Result<Response<Task>, Status> {
        let subject = format!("task/{}", request.into_inner().name);
        let facts = HashMap::from([
            ("subject".to_owned(), subject),
            ("detail".to_owned(), "there is no such task".to_owned()),
            ("help".to_owned(), "pvc task list".to_owned()),
        ]);
        let details = ErrorDetails::with_error_info("must-exist", "pvc", facts);
        Err(Status::with_error_details(Code::NotFound, "no such task", details))
    }

    type WatchTaskStream = BoxStream<'static, Result<Task, Status>>;

    async fn watch_task(
        &self,
        request: Request<WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let mut states = vec![Ok(task(TaskState::Running, "start"))];
        if self.watched.fetch_add(1, Ordering::Relaxed) == 0 {
            states.push(Err(Status::unavailable("this coordinator is going")));
        } else {
            let end = if request.get_ref().name == "t1" { TaskState::Succeeded } else { TaskState::Failed };
            states.push(Ok(task(end, "start")));
        }
        Ok(Response::new(stream::iter(states).boxed()))
    }

    async fn cancel_task(&self, request: Request<CancelTaskRequest>) -> Result<Response<Task>, Status> {
        Err(Status::permission_denied(format!("{} may not", who(&request))))
    }
}
