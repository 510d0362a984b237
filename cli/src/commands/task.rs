//! `pvc task`.

use futures::stream::BoxStream;
use pvc_proto::v1::{
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse, Meta, Task, TaskState,
};

use crate::args::task::{TaskCommand, TaskList, TaskStateWord};
use crate::call::{Session, request_id};
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::listing::{self, Listing};
use crate::show;

pub async fn run(cx: &mut Context<'_>, command: TaskCommand) -> Result<(), Failure> {
    match command {
        TaskCommand::List(list) => {
            let watch = list.watch;
            listing::run(cx, &list, watch).await
        }
        TaskCommand::Info { task } => {
            let session = cx.session()?;
            let request = session.ask(GetTaskRequest { name: task.clone(), consistency: 0 });
            let reply = session.tasks().get_task(request).await?.into_inner();
            cx.reply(&reply, |colour| show::task::page(&reply, colour), || vec![task])
        }
        TaskCommand::Watch { task } => {
            let ended = follow::to_its_end(cx, &task).await?;
            follow::outcome(cx, &ended)
        }
        TaskCommand::Cancel { task } => {
            let session = cx.session()?;
            let request = session.ask(CancelTaskRequest { name: task.clone(), request_id: request_id() });
            let reply = session.tasks().cancel_task(request).await?.into_inner();
            let sentence = match reply.state() {
                TaskState::Running => format!("task/{task} is asked to stop"),
                _ => format!("task/{task}: {}", show::task::state(&reply)),
            };
            cx.done(&reply, &task, sentence)
        }
    }
}

impl Listing for TaskList {
    type Reply = ListTasksResponse;

    async fn page(&self, session: &Session, token: String) -> Result<ListTasksResponse, Failure> {
        let request = ListTasksRequest {
            subject: self.subject.clone().unwrap_or_default(),
            state: match self.state {
                None => TaskState::Unspecified,
                Some(TaskStateWord::Running) => TaskState::Running,
                Some(TaskStateWord::Succeeded) => TaskState::Succeeded,
                Some(TaskStateWord::Failed) => TaskState::Failed,
                Some(TaskStateWord::Cancelled) => TaskState::Cancelled,
            } as i32,
            page_token: token,
            ..ListTasksRequest::default()
        };
        Ok(session.tasks().list_tasks(session.ask(request)).await?.into_inner())
    }

    // The API watches one task, not all of them.
    async fn wakes(&self, _: &Session, _: u64) -> Result<Option<BoxStream<'static, ()>>, Failure> {
        Ok(None)
    }

    fn meta(task: &Task) -> Option<&Meta> {
        task.meta.as_ref()
    }

    fn table(tasks: &[&Task], colour: bool) -> String {
        show::task::table(tasks, colour)
    }
}
