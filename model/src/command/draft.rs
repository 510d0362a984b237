//! A decision in the making: a copy of the world with what was decided so far already in it, and the
//! list of changes that will be committed.

use crate::change::{Changes, Collection, Object, ObjectKey};
use crate::context::Context;
use crate::name::Name;
use crate::rejection::{Rejection, RejectionKind};
use crate::task::{Subject, Task, TaskKind, TaskState};
use crate::vm::Vm;
use crate::volume::Volume;
use crate::world::World;
use crate::{Meta, Revision};

pub(super) struct Draft<'a> {
    pub world: World,
    pub changes: Changes,
    pub context: &'a mut Context,
}

impl<'a> Draft<'a> {
    pub fn new(world: &World, summary: impl Into<String>, context: &'a mut Context) -> Self {
        Draft { world: world.clone(), changes: Changes::new(summary), context }
    }

    /// A new object's identity.
    pub fn new_meta(&mut self, name: Name) -> Meta {
        let now = self.context.now;
        Meta { name, uid: self.context.draw_uid(), revision: 0, created: now, updated: now }
    }

    pub fn put_vm(&mut self, mut vm: Vm) {
        vm.meta.updated = self.context.now;
        self.put(Object::Vm(vm));
    }

    pub fn put_volume(&mut self, mut volume: Volume) {
        volume.meta.updated = self.context.now;
        self.put(Object::Volume(volume));
    }

    pub fn put_task(&mut self, mut task: Task) {
        task.meta.updated = self.context.now;
        self.put(Object::Task(task));
    }

    pub fn put(&mut self, object: Object) {
        self.world.put(object.clone());
        self.changes.put(object);
    }

    pub fn delete(&mut self, collection: Collection, name: &Name) {
        let key = ObjectKey { collection, name: name.clone() };
        self.world.delete(&key);
        self.changes.delete(key);
    }

    /// Starts a task. Its name is eight hexadecimal digits, free now.
    pub fn start_task(&mut self, kind: TaskKind, subject: Subject) -> Name {
        let name = loop {
            let candidate = format!("{:08x}", self.context.draw() as u32);
            let name: Name = candidate.parse().expect("eight hexadecimal digits are a name");
            if !self.world.tasks.contains_key(&name) {
                break name;
            }
        };
        let meta = self.new_meta(name.clone());
        let now = self.context.now;
        self.put_task(Task {
            meta,
            kind,
            subject,
            actor: self.context.actor.clone(),
            state: TaskState::Running,
            stage: 0,
            stage_since: now,
            message: String::new(),
            started: now,
            ended: None,
            cancel_requested: false,
        });
        name
    }

    /// Ends a task that is not over yet, and lets go of what it held.
    pub fn end_task(&mut self, name: &Name, state: TaskState, message: impl Into<String>) {
        let Some(task) = self.world.tasks.get(name).filter(|t| !t.is_over()) else {
            return;
        };
        let mut task = Task::clone(task);
        task.state = state;
        task.message = message.into();
        task.ended = Some(self.context.now);
        let subject = task.subject.clone();
        self.put_task(task);
        match subject {
            Subject::Vm { uid, .. } => {
                if let Some(vm) = self.world.vm_by_uid(uid).filter(|vm| vm.task.as_ref() == Some(name)) {
                    let mut vm = Vm::clone(vm);
                    vm.task = None;
                    self.put_vm(vm);
                }
            }
            Subject::Volume { name: volume, uid } => {
                let held = self.world.volumes.get(&volume);
                let held = held.filter(|v| v.meta.uid == uid && v.status.task.as_ref() == Some(name));
                if let Some(volume) = held {
                    let mut volume = Volume::clone(volume);
                    volume.status.task = None;
                    self.put_volume(volume);
                }
            }
            // A node and the cluster don't name their task: it names them.
            Subject::Node { .. } | Subject::Cluster { .. } => {}
        }
    }

    /// Puts a task into a stage, with what it waits for.
    pub fn set_stage(&mut self, name: &Name, stage: u32, message: &str) {
        let Some(task) = self.world.tasks.get(name).filter(|t| !t.is_over()) else {
            return;
        };
        if task.stage == stage && task.message == message {
            return;
        }
        let mut task = Task::clone(task);
        if task.stage != stage {
            task.stage_since = self.context.now;
        }
        task.stage = stage;
        task.message = message.to_string();
        self.put_task(task);
    }

    pub fn finish(self) -> Changes {
        self.changes
    }

    pub fn finish_replying(self, collection: Collection, name: &Name) -> Changes {
        self.changes.replying(ObjectKey { collection, name: name.clone() })
    }
}

/// `expected_revision` of a request; 0: not checked.
pub(super) fn check_revision(subject: &str, expected: Revision, actual: Revision) -> Result<(), Rejection> {
    if expected == 0 || expected == actual {
        return Ok(());
    }
    let detail = format!("it is at revision {actual}, not at {expected}: someone changed it meanwhile");
    Err(Rejection::new(RejectionKind::RevisionMismatch, "expected-revision", subject, detail)
        .help("read it again, then repeat the change"))
}
