//! Lists, and lists that go on (`--watch`). A change in the cluster only wakes; then the list is read
//! again, so that filters and figures are always the cluster's own.
//!
//! On a terminal the list is redrawn. Else lines are appended: a row for each object that has changed,
//! or with `-o json` the whole reply on a line, with `-o yaml` as a document.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use pvc_proto::v1::{
    Lease, ListLeasesResponse, ListNetworksResponse, ListNodesResponse, ListRulesResponse, ListTasksResponse,
    ListVmsResponse, ListVolumesResponse, Meta, Network, Node, Rule, Task, Vm, Volume,
};
use serde::Serialize;

use crate::args::{Output, Watch};
use crate::call::Session;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::output::Tone;
use crate::output::page::paint;

/// Changes that come together are shown together.
const SETTLE: Duration = Duration::from_millis(200);
/// On a terminal figures that no change announces are read this often.
const REFRESH: Duration = Duration::from_secs(2);
/// After a failure of the watch.
const RETRY: Duration = Duration::from_secs(1);

/// One page of a list, as the API answers it.
pub trait Page {
    type Object;

    fn objects(&self) -> &[Self::Object];
    /// The revision that the list shows.
    fn revision(&self) -> u64;
    /// What to ask for the page after this one; empty: it is the last.
    fn next(&self) -> &str;
    /// Puts the page that follows behind this one.
    fn append(&mut self, page: Self);
}

macro_rules! pages {
    ($($reply:ident.$objects:ident: $object:ident),+ $(,)?) => {
        $(impl Page for $reply {
            type Object = $object;

            fn objects(&self) -> &[$object] {
                &self.$objects
            }

            fn revision(&self) -> u64 {
                self.revision
            }

            fn next(&self) -> &str {
                &self.next_page_token
            }

            fn append(&mut self, page: $reply) {
                self.$objects.extend(page.$objects);
                self.revision = page.revision;
                self.next_page_token = page.next_page_token;
            }
        })+
    };
}
pages!(
    ListLeasesResponse.leases: Lease,
    ListNetworksResponse.networks: Network,
    ListNodesResponse.nodes: Node,
    ListRulesResponse.rules: Rule,
    ListTasksResponse.tasks: Task,
    ListVmsResponse.vms: Vm,
    ListVolumesResponse.volumes: Volume,
);

type Object<L> = <<L as Listing>::Reply as Page>::Object;

/// One kind of list.
pub trait Listing {
    type Reply: Page + Serialize;

    /// The page that the token of the one before names; the first for an empty token.
    async fn page(&self, session: &Session, token: String) -> Result<Self::Reply, Failure>;

    /// Something for each change after the revision; `None` where the API has no watch.
    async fn wakes(
        &self,
        session: &Session,
        revision: u64,
    ) -> Result<Option<BoxStream<'static, ()>>, Failure>;

    fn meta(object: &Object<Self>) -> Option<&Meta>;
    fn table(objects: &[&Object<Self>], colour: bool) -> String;
}

/// The whole list, all pages of it.
pub async fn fetch<L: Listing>(listing: &L, session: &Session) -> Result<L::Reply, Failure> {
    let mut all = listing.page(session, String::new()).await?;
    while !all.next().is_empty() {
        let page = listing.page(session, all.next().to_owned()).await?;
        all.append(page);
    }
    Ok(all)
}

/// Prints the list, once or for ever.
pub async fn run<L: Listing>(cx: &mut Context<'_>, listing: &L, watch: Watch) -> Result<(), Failure> {
    let session = cx.session()?;
    if watch.watch {
        return follow(cx, listing, &session).await;
    }
    let reply = fetch(listing, &session).await?;
    let objects: Vec<&Object<L>> = reply.objects().iter().collect();
    cx.reply(&reply, |colour| L::table(&objects, colour), || names::<L>(&objects))
}

fn names<L: Listing>(objects: &[&Object<L>]) -> Vec<String> {
    objects.iter().map(|object| L::meta(object).map_or(String::new(), |meta| meta.name.clone())).collect()
}

/// Ends by Ctrl-C, which is how a watch is meant to end, or when nobody reads any more.
async fn follow<L: Listing>(cx: &mut Context<'_>, listing: &L, session: &Session) -> Result<(), Failure> {
    let mut shown = Shown::default();
    let mut wakes: Option<BoxStream<'static, ()>> = None;
    let mut troubled = false;
    loop {
        let pause = match fetch(listing, session).await {
            Ok(reply) => {
                troubled = false;
                shown.show::<L>(cx, &reply)?;
                if wakes.is_none() {
                    // A failure to watch is no failure: the list is read again all the same.
                    wakes = listing.wakes(session, reply.revision()).await.ok().flatten();
                }
                if wakes.is_none() { RETRY } else { REFRESH }
            }
            Err(failure) if failure.exit == Exit::Unreachable && !shown.never => {
                if !troubled {
                    cx.io.note(format!("{}; trying again", failure.detail));
                }
                troubled = true;
                RETRY
            }
            Err(failure) => return Err(failure),
        };
        // Not on a terminal nothing is printed without a change, so there is no need to hurry.
        tokio::select! {
            woken = next(&mut wakes) => {
                if woken {
                    tokio::time::sleep(SETTLE).await;
                    drain(&mut wakes);
                } else {
                    wakes = None;
                    tokio::time::sleep(RETRY).await;
                }
            }
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// True for a change, false when the watch has ended; never returns without a watch.
async fn next(wakes: &mut Option<BoxStream<'static, ()>>) -> bool {
    match wakes {
        Some(stream) => stream.next().await.is_some(),
        None => std::future::pending().await,
    }
}

fn drain(wakes: &mut Option<BoxStream<'static, ()>>) {
    use futures::FutureExt;
    if let Some(stream) = wakes {
        while let Some(Some(())) = stream.next().now_or_never() {}
    }
}

/// What is on the screen, or has been printed.
struct Shown {
    never: bool,
    revisions: BTreeMap<String, u64>,
}

impl Default for Shown {
    fn default() -> Shown {
        Shown { never: true, revisions: BTreeMap::new() }
    }
}

impl Shown {
    fn show<L: Listing>(&mut self, cx: &mut Context<'_>, reply: &L::Reply) -> Result<(), Failure> {
        let objects = reply.objects();
        let key = |object: &Object<L>| {
            L::meta(object).map_or((String::new(), 0), |meta| (meta.name.clone(), meta.revision))
        };
        let now: BTreeMap<String, u64> = objects.iter().map(key).collect();
        let changed: Vec<&Object<L>> = objects
            .iter()
            .filter(|object| {
                let (name, revision) = key(object);
                self.revisions.get(&name) != Some(&revision)
            })
            .collect();
        let gone: Vec<&String> = self.revisions.keys().filter(|name| !now.contains_key(*name)).collect();
        let colour = cx.io.out_colour();
        let news = self.never || !changed.is_empty() || !gone.is_empty();
        match cx.global.output {
            Output::Table if cx.io.out_terminal => {
                let all: Vec<&Object<L>> = objects.iter().collect();
                redraw(cx, &L::table(&all, colour))?;
            }
            Output::Table if self.never => {
                cx.io.out.write_all(L::table(&changed, colour).as_bytes())?;
            }
            Output::Table => {
                if !changed.is_empty() {
                    // Without the head: it was printed once.
                    for line in L::table(&changed, colour).lines().skip(1) {
                        cx.io.line(line)?;
                    }
                }
                for name in &gone {
                    cx.io.line(format!("{name}  gone"))?;
                }
            }
            Output::Json if news => cx.io.line(output::json_line(reply)?)?,
            Output::Yaml if news => {
                cx.io.line("---")?;
                cx.io.out.write_all(output::yaml(reply)?.as_bytes())?;
            }
            Output::Name => {
                for name in names::<L>(&changed) {
                    cx.io.line(name)?;
                }
            }
            Output::Json | Output::Yaml => {}
        }
        cx.io.out.flush()?;
        self.revisions = now;
        self.never = false;
        Ok(())
    }
}

/// From the top of the screen, without a flicker: each line is cleared as it is written.
fn redraw(cx: &mut Context<'_>, table: &str) -> Result<(), Failure> {
    let mut text = String::from("\x1b[H");
    for line in table.lines() {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str(&paint("Ctrl-C ends", Tone::Dim, cx.io.out_colour()));
    text.push_str("\x1b[K\n\x1b[J");
    cx.io.out.write_all(text.as_bytes())?;
    Ok(())
}

/// A watch's messages as mere wake-ups; it ends where the watch fails.
pub fn wakes_of<M: Send + 'static>(changes: tonic::Streaming<M>) -> BoxStream<'static, ()> {
    changes.take_while(|change| std::future::ready(change.is_ok())).map(|_| ()).boxed()
}
