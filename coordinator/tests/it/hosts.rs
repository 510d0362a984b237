//! Hosts that answer over connections in memory.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use pvc_coordinator::services::hosts::Hosts;
use pvc_model::Name;
use pvc_proto::internal::v1::host_service_client::HostServiceClient;
use pvc_proto::internal::v1::host_service_server::{HostService, HostServiceServer};
use pvc_proto::internal::v1::{HostDumpVmRequest, HostNetworkRequest, HostVmLogRequest};
use pvc_proto::v1;
use tokio::io::DuplexStream;
use tonic::service::RoutesBuilder;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::cluster::name;

/// All hosts of a cluster.
#[derive(Default)]
pub struct FakeHosts {
    /// No connection comes about.
    pub down: RwLock<BTreeSet<Name>>,
    /// Hosts that take a connection and never answer.
    pub mute: RwLock<BTreeSet<Name>>,
    /// What all of them see on another host.
    pub macs: RwLock<Vec<String>>,
    /// Hosts that know guests: "node/uid".
    pub guests: RwLock<BTreeSet<String>>,
}

#[async_trait]
impl Hosts for FakeHosts {
    async fn host(&self, node: &Name, _: &str) -> Result<HostServiceClient<Channel>, Status> {
        if self.down.read().contains(node) {
            return Ok(HostServiceClient::new(broken()));
        }
        let guests = self.guests.read().clone();
        let mute = self.mute.read().contains(node);
        let macs = self.macs.read().clone();
        let host = FakeHost { node: node.clone(), guests, mute, macs };
        let mut routes = RoutesBuilder::default();
        routes.add_service(HostServiceServer::new(host));
        Ok(HostServiceClient::new(serve(routes)))
    }
}

/// Serves over a connection in memory.
pub fn serve(routes: RoutesBuilder) -> Channel {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = Server::builder().add_routes(routes.routes());
    let incoming = tokio_stream::once(Ok::<_, io::Error>(theirs)).chain(futures::stream::pending());
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut once = Some(ours);
    let connect = move |_: http::Uri| {
        let stream = once.take().map(TokioIo::new).ok_or(io::ErrorKind::ConnectionRefused);
        async move { stream.map_err(io::Error::from) }
    };
    Endpoint::from_static("http://memory").connect_with_connector_lazy(tower::service_fn(connect))
}

fn broken() -> Channel {
    let connect = |_: http::Uri| async {
        Err::<TokioIo<DuplexStream>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    };
    Endpoint::from_static("http://memory").connect_with_connector_lazy(tower::service_fn(connect))
}

struct FakeHost {
    node: Name,
    guests: BTreeSet<String>,
    mute: bool,
    macs: Vec<String>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn chunk(text: String) -> Result<v1::LogChunk, Status> {
    Ok(v1::LogChunk { data: text.into_bytes() })
}

fn log(text: String, follow: bool) -> Answers<v1::LogChunk> {
    let lines = futures::stream::iter([chunk(text)]);
    if follow { Box::pin(lines.chain(futures::stream::pending())) } else { Box::pin(lines) }
}

#[tonic::async_trait]
impl HostService for FakeHost {
    type TailVmLogStream = Answers<v1::LogChunk>;

    async fn tail_vm_log(
        &self,
        request: Request<HostVmLogRequest>,
    ) -> Result<Response<Self::TailVmLogStream>, Status> {
        let HostVmLogRequest { uid, lines, follow } = request.into_inner();
        Ok(Response::new(log(format!("{lines} lines of {uid} on {}", self.node), follow)))
    }

    type TailNodeLogStream = Answers<v1::LogChunk>;

    async fn tail_node_log(
        &self,
        request: Request<v1::TailNodeLogRequest>,
    ) -> Result<Response<Self::TailNodeLogStream>, Status> {
        let v1::TailNodeLogRequest { name: node, lines, follow } = request.into_inner();
        assert_eq!(name(&node), self.node);
        Ok(Response::new(log(format!("{lines} lines of {node}"), follow)))
    }

    type ConsoleStream = Answers<v1::ConsoleOutput>;

    /// Says whose console it is, then what is typed, in capitals. Ctrl-D ends it.
    async fn console(
        &self,
        request: Request<Streaming<v1::ConsoleInput>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let mut input = request.into_inner();
        let first = input.message().await?.expect("a first message");
        let hello = format!("{} on {}: ", first.vm, self.node).into_bytes();
        let hello = v1::ConsoleOutput { data: [hello, first.data].concat() };
        let typed = input.take_while(|input| {
            let ends = input.as_ref().is_ok_and(|input| input.data == b"\x04");
            async move { !ends }
        });
        let echo = typed.map(|input| {
            let input = input?;
            assert!(input.vm.is_empty(), "the VM is named once");
            Ok(v1::ConsoleOutput { data: input.data.to_ascii_uppercase() })
        });
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(hello)).chain(echo))))
    }

    async fn dump_vm(
        &self,
        request: Request<HostDumpVmRequest>,
    ) -> Result<Response<v1::DumpVmResponse>, Status> {
        let HostDumpVmRequest { uid, vm, volumes } = request.into_inner();
        let vm = vm.expect("the VM comes with the request");
        let named = vm.meta.expect("with what it is");
        assert_eq!(named.uid, uid);
        let volumes: Vec<String> = volumes.into_iter().filter_map(|volume| Some(volume.meta?.name)).collect();
        let live = self.guests.contains(&format!("{}/{uid}", self.node));
        let xml = format!("{} with {volumes:?} by {}", named.name, self.node);
        Ok(Response::new(v1::DumpVmResponse { xml, live }))
    }

    /// Sees MACs on another host.
    async fn look_at_network(
        &self,
        request: Request<HostNetworkRequest>,
    ) -> Result<Response<v1::HostNetworkState>, Status> {
        if self.mute {
            std::future::pending::<()>().await;
        }
        let vni = request.into_inner().vni;
        let macs = self.macs.iter().map(|mac| v1::NetworkMac {
            mac: mac.clone(),
            host: "192.0.2.9".into(),
            ..Default::default()
        });
        Ok(Response::new(v1::HostNetworkState {
            node: self.node.to_string(),
            gateways: vec![format!("10.{vni}.0.1")],
            macs: macs.collect(),
            ..Default::default()
        }))
    }
}
