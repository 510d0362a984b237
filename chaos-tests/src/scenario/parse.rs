//! From a file's text to its scenarios. All lines below a title are the scenario's; those that are set in belong to the
//! `repeat` above them.

use std::time::Duration;

use pvc_model::vm::VmSpec;
use pvc_model::{Command, Name};
use raft_store::Checkpoint;

use super::admin::Wish;
use super::check::Check;
use super::event::Event;
use super::hosts::{name, place};
use super::vary::blocks;
use super::{Expected, Guest, Scenario, Step, What};
use crate::shape::Shape;
use crate::workload;

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct ParseError {
    pub file: String,
    pub line: usize,
    pub what: String,
}

/// All scenarios of a file. `file`: its name, for messages.
pub fn parse(file: &str, text: &str) -> Result<Vec<Scenario>, ParseError> {
    let mut drafts: Vec<Draft> = Vec::new();
    for block in blocks(file, text)? {
        let at = |line: usize, what: String| ParseError { file: file.to_owned(), line, what };
        let variations = block.variations().map_err(|(line, what)| at(line, what))?;
        for variation in variations {
            let title = variation.tell(&block.title);
            if drafts.iter().any(|other| other.title == title) {
                return Err(at(block.line, format!("there are two scenarios of the title {title:?}")));
            }
            let mut draft = Draft::new(&title, block.line);
            for (number, line) in &block.lines {
                draft.take(&variation.tell(line), *number).map_err(|what| at(*number, what))?;
            }
            draft.is_whole().map_err(|what| at(block.end, what))?;
            drafts.push(draft);
        }
    }
    Ok(drafts.into_iter().map(|draft| draft.finish(file)).collect())
}

/// A scenario as far as it is read.
struct Draft {
    title: String,
    text: String,
    shape: Option<Shape>,
    steps: Vec<Step>,
    finally: Option<Vec<Expected>>,
}

impl Draft {
    fn new(title: &str, line: usize) -> Draft {
        let text = format!("{line:>4}  # {title}\n");
        Draft { title: title.to_owned(), text, shape: None, steps: Vec::new(), finally: None }
    }

    fn is_whole(&self) -> Result<(), String> {
        match self.finally {
            None => Err(format!("the scenario {:?} does not end with \"finally:\"", self.title)),
            Some(_) => Ok(()),
        }
    }

    fn take(&mut self, line: &str, number: usize) -> Result<(), String> {
        self.text.push_str(&format!("{number:>4}  {line}\n"));
        if self.finally.is_some() {
            return Err("\"finally:\" is a scenario's last line".to_owned());
        }
        let (set_in, line) = (line.starts_with(' '), line.trim());
        if let Some(rest) = line.strip_prefix("cluster ") {
            return match self.shape.replace(shape(rest)?) {
                Some(_) => Err("a scenario has one cluster".to_owned()),
                None => Ok(()),
            };
        }
        if self.shape.is_none() {
            return Err("a scenario's first line is its cluster: \"cluster 3 coordinators …\"".to_owned());
        }
        if let Some(rest) = line.strip_prefix("finally:") {
            self.finally = Some(expected(rest)?);
            return Ok(());
        }
        let step = Step { line: number, what: what(line)? };
        match self.steps.last_mut() {
            _ if !set_in => self.steps.push(step),
            Some(Step { what: What::Repeat(_, inner), .. }) => inner.push(step),
            _ => return Err("only what is repeated is set in".to_owned()),
        }
        Ok(())
    }

    fn finish(self, file: &str) -> Scenario {
        Scenario {
            file: file.to_owned(),
            title: self.title,
            text: self.text,
            shape: self.shape.unwrap_or_default(),
            steps: self.steps,
            finally: self.finally.unwrap_or_default(),
        }
    }
}

fn shape(text: &str) -> Result<Shape, String> {
    let (hosts, with) = text.split_once(" with ").unwrap_or((text, ""));
    let mut shape = Shape { coordinators: 0, hypervisors: 0, clock_skew_max_ms: 0, ..Shape::default() };
    let words: Vec<&str> = hosts.split_whitespace().collect();
    for pair in words.chunks(2) {
        let [count, kind] = pair else { return Err(format!("how many, and of which kind? {hosts:?}")) };
        let count =
            u8::try_from(number(count)?).map_err(|_| "so many hosts can't be simulated".to_owned())?;
        match *kind {
            "coordinator" | "coordinators" => shape.coordinators = count,
            "hypervisor" | "hypervisors" => shape.hypervisors = count,
            "spare" | "spares" => shape.spares = count,
            kind => return Err(format!("a host is a coordinator, a hypervisor or a spare, not {kind:?}")),
        }
    }
    if ![1, 3, 5].contains(&shape.coordinators) {
        return Err("there are 1, 3 or 5 coordinators".to_owned());
    }
    for with in with.split(',').map(str::trim).filter(|with| !with.is_empty()) {
        match with {
            "bmcs" => shape.bmcs = true,
            "wrong clocks" => shape.clock_skew_max_ms = 3_600_000,
            "short logs" => shape.checkpoint = Checkpoint { entries: 40, bytes: 1 << 20, keep: 10 },
            with => return Err(format!("a cluster has bmcs, wrong clocks or short logs, not {with:?}")),
        }
    }
    Ok(shape)
}

fn what(line: &str) -> Result<What, String> {
    if let Some(guests) = line.strip_prefix("guests ") {
        return Ok(What::Guests(guests.split(',').map(guest).collect::<Result<_, _>>()?));
    }
    if let Some(time) = line.strip_prefix("wait ") {
        return Ok(What::Wait(duration(time)?));
    }
    if let Some(times) = line.strip_prefix("repeat ").and_then(|rest| rest.strip_suffix(" times:")) {
        return Ok(What::Repeat(number(times)?, Vec::new()));
    }
    let Some((head, rest)) = split_head(line) else { return Ok(What::Do(Event::parse(line)?)) };
    let words: Vec<&str> = head.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["within", time] => What::Within(duration(time)?, expected(rest)?),
        ["for", time] => What::For(duration(time)?, expected(rest)?),
        ["now"] => What::Now(expected(rest)?),
        ["always"] => What::Always(expected(rest)?),
        ["when", ..] => What::When(one(head.strip_prefix("when ").unwrap_or_default())?, Event::parse(rest)?),
        ["admin"] => What::Admin(Wish::parse(rest)?),
        ["admin", "is", "refused", ..] => What::Refused(quoted(head)?, Wish::parse(rest)?),
        ["admins"] => What::Admins(rest.split('|').map(Wish::parse).collect::<Result<_, _>>()?),
        _ => return Err(format!("{head:?} is not understood")),
    })
}

/// At the colon that stands in no quotation.
fn split_head(line: &str) -> Option<(&str, &str)> {
    let mut in_quotes = false;
    let colon = line.char_indices().find(|(_, c)| {
        in_quotes ^= *c == '"';
        *c == ':' && !in_quotes
    });
    colon.map(|(at, _)| (line[..at].trim(), line[at + 1..].trim()))
}

fn expected(text: &str) -> Result<Vec<Expected>, String> {
    text.split(';').map(one).collect()
}

fn one(text: &str) -> Result<Expected, String> {
    let text = text.trim();
    let (not, said) = text.strip_prefix("not ").map_or((false, text), |said| (true, said));
    Ok(Expected { text: text.to_owned(), not, check: Check::parse(said)? })
}

/// "a on hv4 8000 MiB priority 500 unrecovered only hv4 off".
fn guest(text: &str) -> Result<Guest, String> {
    let mut words = text.split_whitespace();
    let vm: Name = name(words.next().unwrap_or_default())?;
    let mut spec: VmSpec = workload::spec(&vm);
    let (mut node, mut off) = (None, false);
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or_else(|| format!("{text:?} ends too early"));
        match word {
            "on" => node = Some(place(next()?)?.node()),
            "only" => drop(spec.node_limit.insert(place(next()?)?.node())),
            "home" => spec.home = Some(place(next()?)?.node()),
            "priority" => spec.priority = number(next()?)?,
            "unrecovered" => spec.recover = false,
            "off" => off = true,
            count => match words.next() {
                Some("MiB") => spec.memory_mib = u64::from(number(count)?),
                Some("vcpus") => spec.vcpus = number(count)?,
                _ => return Err(format!("{count:?} says nothing of a guest")),
            },
        }
    }
    let start = (!off).then(|| Command::StartVm { name: vm.clone(), node });
    Ok(Guest { create: Command::CreateVm { name: vm.clone(), spec }, name: vm, start })
}

/// "200ms", "30s", "5min", "2h".
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{text:?} is no time (200ms, 30s, 5min, 2h)")),
    };
    let count: u64 = count.parse().map_err(|_| format!("{text:?} is no time (200ms, 30s, 5min, 2h)"))?;
    Ok(Duration::from_millis(count * millis))
}

pub(super) fn number(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number"))
}

/// The text in quotation marks.
pub(super) fn quoted(text: &str) -> Result<String, String> {
    let inside = text.split_once('"').and_then(|(_, rest)| rest.split_once('"'));
    inside
        .map(|(inside, _)| inside.to_owned())
        .ok_or_else(|| format!("a text in \"…\" is missing in {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse("bad.story", text).expect_err("it is not understood").to_string()
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let head = "# t\ncluster 3 coordinators with bmcs\n";
        for (line, says) in [
            ("power off hx", "bad.story:3: \"hx\" is no host"),
            ("powr off hv1", "bad.story:3: \"powr off hv1\" is no event"),
            ("within 3: a runs", "bad.story:3: \"3\" is no time"),
            ("now: a flies", "bad.story:3: \"a flies\" is nothing that can be expected"),
            ("admin: dance", "bad.story:3: \"dance\" is nothing that an administrator can ask for"),
            ("  wait 1s", "bad.story:3: only what is repeated is set in"),
            ("guests a on hv1 loud", "bad.story:3: \"loud\" says nothing of a guest"),
            ("cluster 1 coordinators", "bad.story:3: a scenario has one cluster"),
            ("whenever it rains: heal the network", "bad.story:3: \"whenever it rains\" is not understood"),
        ] {
            let found = wrong(&format!("{head}{line}\nfinally: well\n"));
            assert!(found.starts_with(says), "{line}: {found}");
        }
        assert!(wrong("wait 1s\n").starts_with("bad.story:1: a scenario begins with"));
        assert!(wrong("# t\nwait 1s\n").starts_with("bad.story:2: a scenario's first line is its cluster"));
        assert!(wrong(head).starts_with("bad.story:2: the scenario \"t\" does not end with"));
        assert!(wrong("# t\ncluster 4 coordinators\n").contains("1, 3 or 5"));
        let twice = format!("{head}finally: well\n{head}finally: well\n");
        assert!(wrong(&twice).starts_with("bad.story:4: there are two scenarios"));
    }

    #[test]
    fn what_is_repeated_is_set_in_and_colons_in_quotes_end_nothing() {
        let text = "## remark\n# t\ncluster 1 coordinators\nrepeat 2 times:\n  wait 1s\n  kill all\n\
                    admin is refused \"a: b\": arm\nfinally: well; not a runs\n";
        let scenarios = parse("good.story", text).expect("it is understood");
        let scenario = &scenarios[0];
        assert_eq!((scenarios.len(), scenario.steps.len(), scenario.finally.len()), (1, 2, 2));
        assert!(matches!(&scenario.steps[0].what, What::Repeat(2, inner) if inner.len() == 2));
        assert!(matches!(&scenario.steps[1].what, What::Refused(text, _) if text == "a: b"));
        assert!(scenario.finally[1].not && scenario.shape.coordinators == 1);
    }

    #[test]
    fn a_scenario_is_played_in_each_of_its_variations() {
        let text = "# {mishap} when {moment}\neach moment: a runs | hv1 is fenced\n\
                    each mishap: kill hv1 => start hv1 | leadership moves => wait 1s\n\
                    cluster 1 coordinators\nwhen {moment}: {mishap}\n{end of mishap}\nfinally: well\n";
        let scenarios = parse("good.story", text).expect("it is understood");
        let titles: Vec<&str> = scenarios.iter().map(|scenario| scenario.title.as_str()).collect();
        let wanted = [
            "kill hv1 when a runs",
            "leadership moves when a runs",
            "kill hv1 when hv1 is fenced",
            "leadership moves when hv1 is fenced",
        ];
        assert_eq!(titles, wanted);
        assert!(matches!(&scenarios[0].steps[1].what, What::Do(Event::Start(_))));
        assert!(matches!(&scenarios[3].steps[1].what, What::Wait(_)));
        let unnamed = text.replace("# {mishap} when", "# when");
        assert!(wrong(&unnamed).starts_with("bad.story:1: there are two scenarios"), "{}", wrong(&unnamed));
        assert!(
            wrong("# t\neach mishap:\ncluster 1 coordinators\nfinally: well\n").contains("a way or more")
        );
    }

    #[test]
    fn there_are_hundreds_of_scenarios() {
        let scenarios = super::super::find(None).expect("all are understood");
        assert!(scenarios.len() >= 300, "{}", scenarios.len());
    }
}
