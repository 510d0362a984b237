//! `pvc why`.

use pvc_proto::v1::{ExplainNodeRequest, ExplainVmRequest};

use crate::args::why::WhyCommand;
use crate::context::Context;
use crate::failure::Failure;
use crate::show;

pub async fn run(cx: &mut Context<'_>, command: WhyCommand) -> Result<(), Failure> {
    let session = cx.session()?;
    let (explanation, name) = match command {
        WhyCommand::Vm { vm } => {
            let request = session.ask(ExplainVmRequest { name: vm.clone(), consistency: 0 });
            (session.vms().explain_vm(request).await?.into_inner(), vm)
        }
        WhyCommand::Node { node } => {
            let request = session.ask(ExplainNodeRequest { name: node.clone(), consistency: 0 });
            (session.nodes().explain_node(request).await?.into_inner(), node)
        }
    };
    cx.reply(&explanation, |_| show::why::sentences(&explanation), || vec![name])
}
