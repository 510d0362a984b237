//! A client of the whole path: VMs in place of keys; the value is a note on the VM.

use anyhow::{Result, bail};
use async_trait::async_trait;
use pvc_client::{Client, Coordinators, Options, Trust, request_id};
use pvc_proto::v1;
use tonic::{Code, Streaming};

use super::target;

const NOTE: &str = "note";

pub struct Conn(Client);

impl Conn {
    pub fn new(endpoints: &[String], trust: &Trust) -> Self {
        Conn(Client::over(Coordinators::new(endpoints, trust.clone(), Options::default())))
    }

    async fn get(&mut self, key: &str, consistency: v1::Consistency) -> Result<usize> {
        let request = v1::GetVmRequest { name: key.to_owned(), consistency: consistency.into() };
        let vm = self.0.vms().get_vm(request).await?.into_inner();
        Ok(vm.spec.unwrap_or_default().meta.get(NOTE).map_or(0, String::len))
    }
}

/// A note is text: as many characters as the value has bytes.
fn note(value: &[u8]) -> String {
    value.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

#[async_trait]
impl target::Conn for Conn {
    async fn create(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let meta = [(NOTE.to_owned(), note(value))].into();
        let spec = v1::VmSpec { vcpus: 1, memory_mib: 32, meta, ..v1::VmSpec::default() };
        let request = v1::CreateVmRequest {
            name: key.to_owned(),
            spec: Some(spec),
            request_id: request_id(),
            ..v1::CreateVmRequest::default()
        };
        match self.0.vms().create_vm(request).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status.into()),
            _ => Ok(()),
        }
    }

    async fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let request = v1::UpdateVmRequest {
            name: key.to_owned(),
            set_meta: [(NOTE.to_owned(), note(value))].into(),
            request_id: request_id(),
            ..v1::UpdateVmRequest::default()
        };
        self.0.vms().update_vm(request).await?;
        Ok(())
    }

    async fn get_lin(&mut self, key: &str) -> Result<usize> {
        self.get(key, v1::Consistency::Unspecified).await
    }

    async fn get_local(&mut self, key: &str) -> Result<usize> {
        self.get(key, v1::Consistency::Cached).await
    }

    async fn watch(self: Box<Self>, key: &str) -> Result<Box<dyn target::Watching>> {
        let request =
            v1::WatchVmsRequest { name_filter: format!("^{key}$"), ..v1::WatchVmsRequest::default() };
        Ok(Box::new(Watching(self.0.vms().watch_vms(request).await?.into_inner())))
    }
}

struct Watching(Streaming<v1::VmChange>);

#[async_trait]
impl target::Watching for Watching {
    async fn next(&mut self) -> Result<()> {
        loop {
            match self.0.message().await? {
                Some(change) if change.vm.is_some() => return Ok(()),
                Some(_) => {}
                None => bail!("the watch ended"),
            }
        }
    }
}
