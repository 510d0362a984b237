//! A stream that breaks off because its coordinator's host has gone.

use std::pin::Pin;
use std::time::Duration;

use pvc_client::{Coordinators, KeepAlive, Options, Trust};
use pvc_identity::{ExpectedPeer, Identity};
use pvc_proto::v1;
use pvc_proto::v1::task_service_client::TaskServiceClient;
use pvc_proto::v1::task_service_server::{TaskService, TaskServiceServer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::tls;

/// Tells who it is, and goes on for ever.
struct Endless(&'static str);

#[tonic::async_trait]
impl TaskService for Endless {
    async fn list_tasks(
        &self,
        _: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        Err(Status::permission_denied("not here"))
    }

    async fn get_task(&self, _: Request<v1::GetTaskRequest>) -> Result<Response<v1::Task>, Status> {
        Ok(Response::new(v1::Task { message: self.0.to_owned(), ..Default::default() }))
    }

    type WatchTaskStream = Pin<Box<dyn Stream<Item = Result<v1::Task, Status>> + Send>>;

    async fn watch_task(
        &self,
        _: Request<v1::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let first = v1::Task { message: self.0.to_owned(), ..Default::default() };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(first)).chain(tokio_stream::pending()))))
    }

    async fn cancel_task(&self, _: Request<v1::CancelTaskRequest>) -> Result<Response<v1::Task>, Status> {
        Err(Status::permission_denied("not here"))
    }
}

/// The way to `address`, until `gone`: then nothing passes any more, and nothing is refused.
async fn way_to(address: String, gone: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let (address, mut gone) = (address.clone(), gone.clone());
            held.push(tokio::spawn(async move {
                let pass = async {
                    let mut far = TcpStream::connect(address).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                };
                tokio::select! {
                    biased;
                    _ = gone.wait_for(|gone| *gone) => {}
                    () = pass => return,
                }
                let _kept_open = near;
                std::future::pending::<()>().await;
            }));
        }
    });
    way
}

#[tokio::test]
async fn the_next_call_does_not_wait_for_the_host_that_has_gone() {
    let ca = tls::ca();
    let (go, gone) = watch::channel(false);
    let near = tls::serve(&ca, "hv1", Routes::new(TaskServiceServer::new(Endless("hv1")))).await;
    let first = way_to(near, gone).await;
    let second = tls::serve(&ca, "hv2", Routes::new(TaskServiceServer::new(Endless("hv2")))).await;
    let trust = Trust::Mutual(tls::store(&ca, Identity::admin("root").unwrap()), ExpectedPeer::AnyNode);
    let keep_alive = KeepAlive { interval: Duration::from_millis(200), timeout: Duration::from_millis(300) };
    let over = Coordinators::new(&[first, second], trust, Options { keep_alive, ..Options::default() });
    let mut tasks = TaskServiceClient::new(over);
    let watch = v1::WatchTaskRequest { name: "t-1".into() };
    let mut told = tasks.watch_task(watch).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().message, "hv1");
    go.send_replace(true);
    let broken = tokio::time::timeout(Duration::from_secs(10), told.message()).await;
    broken.expect("it is noticed").expect_err("it breaks");
    let before = Instant::now();
    let task = tasks.get_task(v1::GetTaskRequest { name: "t-1".into(), consistency: 0 }).await.unwrap();
    assert_eq!(task.into_inner().message, "hv2");
    assert!(before.elapsed() < Duration::from_millis(1500), "{:?}: it was waited for", before.elapsed());
}
