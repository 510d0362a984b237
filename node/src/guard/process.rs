//! `pvcd guard`, the guard's process. One thread strikes, and does nothing else; the main one talks with the daemon.
//!
//! It has no configuration of the cluster, no network and no database: what it needs is the clock, libvirt's state files and,
//! where there is one, the watchdog.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::memory::Memory;
use super::watchdog::{Dog, Held, Kennel};
use super::{Answer, Ask, Deed, Terms, Watch, emulators, since_boot, socket};
use crate::realtime;

/// How often it looks whether it is time.
const TICK: Duration = Duration::from_millis(100);
/// How long those that were killed are waited for before they are looked for anew.
const GONE_WITHIN: Duration = Duration::from_millis(500);
/// How often it looks at the guests though there is nothing to do: what the strike needs stays in memory, and trouble is known
/// before.
const REHEARSE_EVERY: Duration = Duration::from_secs(2);
/// By the time that a guard which is told to end is let go, or has struck.
const END_LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct Options {
    /// Where its socket and its memory are: on a file system that ends with the host's power.
    pub run_dir: PathBuf,
    /// Where libvirt keeps the state of guests.
    pub libvirt_state: PathBuf,
    pub kennel: Kennel,
}

/// What both threads touch.
struct Post {
    watch: Watch,
    memory: Memory,
    kennel: Kennel,
    dog: Option<Box<dyn Dog>>,
}

impl Post {
    /// As the guard before left it.
    fn take_over(memory: Memory, kennel: Kennel) -> Self {
        let left = memory.read(since_boot());
        let watch = Watch::take_over(Terms::process(), left, since_boot());
        let mut post = Post { watch, memory, kennel, dog: None };
        if left.is_some() {
            tracing::warn!("taking over from a guard that was armed");
            post.take_dog();
        }
        post
    }

    fn take_dog(&mut self) {
        let Some(Held { dog, kind, name }) = self.kennel.open() else { return };
        self.dog = Some(dog);
        self.watch = self.watch.with(Terms { kind, device: name });
    }

    fn take(&mut self, ask: Ask) -> Result<Answer, String> {
        let now = since_boot();
        let before = self.watch.armed_until();
        if before.is_none() && matches!(ask, Ask::Arm { .. }) && self.dog.is_none() {
            self.take_dog();
        }
        self.watch.take(ask, now);
        let after = self.watch.armed_until();
        if after != before
            && let Err(error) = self.memory.write(after)
        {
            // An armed guard whose next process would not know is none; one that goes on being armed is as good as before.
            if before.is_none() {
                self.watch.take(Ask::Disarm, now);
            }
            tracing::error!(%error, "what is to be remembered can't be written");
            return Err(error.to_string());
        }
        match (before, after) {
            (None, Some(_)) => tracing::info!(kind = ?self.watch.answer(now).kind, "armed"),
            (Some(_), None) => tracing::info!("disarmed"),
            _ => {}
        }
        if after.is_none()
            && let Some(dog) = self.dog.take()
        {
            if let Err(error) = dog.let_go() {
                tracing::error!(%error, "the watchdog was not let go: it will reset this host");
            }
            self.watch = self.watch.with(Terms::process());
        }
        Ok(self.watch.answer(now))
    }

    fn pet(&mut self) {
        if let Some(dog) = &mut self.dog
            && let Err(error) = dog.pet()
        {
            tracing::error!(%error, "the watchdog can't be petted: it will reset this host");
        }
    }
}

/// Runs until it is told to end, and nobody relies on it any more.
pub fn run(options: Options) -> anyhow::Result<()> {
    fs::create_dir_all(&options.run_dir)
        .with_context(|| format!("could not make {}", options.run_dir.display()))?;
    // Beside the daemon, whose program it is, people and tests tell it by its name.
    if let Err(error) = fs::write("/proc/self/comm", "pvc-guard") {
        tracing::debug!(%error, "it goes by its program's name");
    }
    let _only = only_one(&options.run_dir)?;
    if let Err(error) = realtime::lock_memory() {
        tracing::warn!(%error, "a host without free memory may delay the strike");
    }
    let memory = Memory::at(&options.run_dir).context("could not tell this boot from others")?;
    let post = Arc::new(Mutex::new(Post::take_over(memory, options.kennel.clone())));
    let over = Arc::new(AtomicBool::new(false));
    let striker = {
        let (post, over, state) = (post.clone(), over.clone(), options.libvirt_state.clone());
        std::thread::Builder::new()
            .name("guard".into())
            .spawn(move || strike_in_time(&post, &state, &over))?
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&options.run_dir, &post, &options.libvirt_state));
    over.store(true, Ordering::Relaxed);
    if striker.join().is_err() {
        bail!("the thread that strikes has failed");
    }
    served
}

/// Held as long as this guard lives.
fn only_one(run_dir: &Path) -> anyhow::Result<File> {
    let path = run_dir.join("guard.lock");
    let file = File::create(&path).with_context(|| format!("could not make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("another guard has {}", path.display()),
    }
}

/// Looks at the time again and again, and ends this host's guests when it has come.
fn strike_in_time(post: &Mutex<Post>, state: &Path, over: &AtomicBool) {
    let mut rehearsed = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let deed = post.lock().watch.deed(since_boot());
        match deed {
            Deed::Rest => {}
            Deed::Watch => post.lock().pet(),
            Deed::Strike => strike(post, state),
        }
        if deed != Deed::Strike && rehearsed.elapsed() >= REHEARSE_EVERY {
            rehearsed = Instant::now();
            if let Err(error) = emulators::emulators(state) {
                tracing::error!(%error, "the guests of this host can't be found");
            }
        }
        std::thread::sleep(TICK);
    }
}

/// Ends what there is. As long as anything is left, or it is not known, the watchdog is not petted.
fn strike(post: &Mutex<Post>, state: &Path) {
    let found = match emulators::emulators(state) {
        Ok(found) => found,
        Err(error) => return tracing::error!(%error, "the guests of this host can't be found"),
    };
    {
        // A lease that has come meanwhile counts.
        let post = post.lock();
        if post.watch.deed(since_boot()) != Deed::Strike {
            return;
        }
        emulators::kill(&found);
    }
    match emulators::left(&found, GONE_WITHIN) {
        0 => post.lock().pet(),
        left => tracing::error!(left, "guests that were killed are still there"),
    }
}

/// Answers the daemon, until it is time to end.
async fn serve(run_dir: &Path, post: &Arc<Mutex<Post>>, state: &Path) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let listener = socket::listen(run_dir).context("could not make its socket")?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut looking = tokio::time::interval(END_LOOK);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "guarding");
    let mut stopping = false;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let post = post.clone();
                tokio::spawn(async move {
                    if let Err(error) = socket::serve(stream, |ask| post.lock().take(ask)).await {
                        tracing::warn!(%error, "somebody asked, and was not answered");
                    }
                });
            }
            _ = term.recv() => stopping = true,
            _ = int.recv() => stopping = true,
            _ = looking.tick(), if stopping => {
                let mut post = post.lock();
                post.watch.stop();
                let deed = post.watch.deed(since_boot());
                let done = match deed {
                    Deed::Rest => true,
                    Deed::Watch => false,
                    Deed::Strike => emulators::emulators(state).is_ok_and(|left| left.is_empty()),
                };
                if done {
                    tracing::info!(?deed, "ended");
                    return Ok(());
                }
            }
        }
    }
}
