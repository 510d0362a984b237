//! The checks of histories, each seen to find what it is there for: in histories made by hand, and in a store
//! that is well but for one lie.

use std::collections::BTreeMap;

use pvc_chaos_tests::history::record::{
    Answer, Contents, Expect, History, KEYS, Look, Operation, Recorder, Seen, What, Write, key,
};
use pvc_chaos_tests::history::watches::{Change, Final, Stored, Told, WatchLog};
use pvc_chaos_tests::history::{linear, numbers, watches};
use pvc_chaos_tests::members::sabotage::{Lie, Saboteur};
use pvc_chaos_tests::members::script::sabotaged;
use pvc_chaos_tests::run::run;
use pvc_chaos_tests::witness::Rule;

/// A history by hand: calls and answers in the order in which they are made here.
struct Hand(Recorder);

impl Hand {
    fn new() -> Hand {
        Hand(Recorder::new())
    }

    fn begin(&self, what: What) -> u64 {
        self.0.call(0, 0, what)
    }

    fn put(&self, key: usize) -> u64 {
        self.begin(What::Write(Write { puts: vec![key], ..Write::default() }))
    }

    fn applied(&self, id: u64, revision: u64) {
        self.0.end(id, Answer::Applied { revision });
    }

    /// A read that is called and answered at once.
    fn read(&self, revision: u64, contents: Contents) {
        let id = self.begin(What::Read);
        self.0.end(id, Answer::Read { revision, contents });
    }

    fn operations(&self) -> Vec<Operation> {
        self.0.history().operations
    }

    fn is_linearizable(&self) -> bool {
        linear::check(&self.operations()).is_empty()
    }

    fn has_good_numbers(&self) -> bool {
        numbers::check(&self.0.history()).is_empty()
    }
}

fn only(key: usize, value: u64, revision: u64) -> Contents {
    let mut contents = [None; KEYS];
    contents[key] = Some(Seen { value, revision });
    contents
}

#[test]
fn what_overlaps_may_come_in_any_order() {
    let hand = Hand::new();
    let (one, other) = (hand.put(0), hand.put(0));
    hand.read(6, only(0, other, 6));
    hand.read(7, only(0, one, 7));
    hand.applied(one, 7);
    hand.applied(other, 6);
    hand.read(7, only(0, one, 7));
    assert!(hand.is_linearizable() && hand.has_good_numbers());
}

#[test]
fn a_stale_read_is_found() {
    let hand = Hand::new();
    let one = hand.put(0);
    hand.applied(one, 5);
    let other = hand.put(0);
    hand.applied(other, 6);
    hand.read(5, only(0, one, 5));
    assert!(!hand.is_linearizable() && !hand.has_good_numbers());
    let found = linear::check(&hand.operations()).remove(0);
    assert!(found.lines().any(|line| line.contains("!!") && line.contains("read")), "{found}");
}

/// A client that was told nothing of two writes, of which the one that was met needs the other.
#[test]
fn what_an_unanswered_write_needed_was_there() {
    let hand = Hand::new();
    let move_on = Write { expects: vec![(1, Expect::Exists)], puts: vec![3], deletes: vec![1] };
    let moved = hand.begin(What::Write(move_on));
    let make = Write { expects: vec![(1, Expect::Absent)], puts: vec![1], ..Write::default() };
    hand.begin(What::Write(make));
    hand.read(9, only(3, moved, 8));
    assert!(hand.is_linearizable());
    let alone = Hand::new();
    let move_on = Write { expects: vec![(1, Expect::Exists)], puts: vec![3], deletes: vec![1] };
    let moved = alone.begin(What::Write(move_on));
    alone.read(9, only(3, moved, 8));
    assert!(!alone.is_linearizable(), "nobody had made it");
}

#[test]
fn what_was_seen_once_is_there_from_then_on() {
    let hand = Hand::new();
    let never_answered = hand.put(0);
    hand.read(5, only(0, never_answered, 5));
    assert!(hand.is_linearizable());
    hand.read(5, [None; KEYS]);
    assert!(!hand.is_linearizable());
}

#[test]
fn a_lost_write_is_found() {
    let hand = Hand::new();
    let one = hand.put(0);
    hand.applied(one, 5);
    hand.read(5, [None; KEYS]);
    assert!(!hand.is_linearizable());
}

#[test]
fn a_write_that_was_not_done_and_is_there_is_found() {
    let hand = Hand::new();
    let one = hand.put(0);
    hand.0.end(one, Answer::NotDone);
    assert!(hand.is_linearizable());
    hand.read(5, only(0, one, 5));
    assert!(!hand.is_linearizable());
}

#[test]
fn a_request_that_took_effect_twice_is_found() {
    let hand = Hand::new();
    let (one, other) = (hand.put(0), hand.put(0));
    hand.applied(one, 5);
    hand.applied(other, 6);
    hand.read(6, only(0, other, 6));
    hand.read(7, only(0, one, 7));
    assert!(!hand.is_linearizable() && !hand.has_good_numbers());
}

#[test]
fn a_request_that_was_forgotten_is_found() {
    let hand = Hand::new();
    let one = hand.put(0);
    hand.applied(one, 5);
    hand.0.repeat(one, Some(5));
    assert!(hand.has_good_numbers());
    for told in [Some(6), None] {
        let (again, id) = (Hand::new(), 0);
        again.put(0);
        again.applied(id, 5);
        again.0.repeat(id, told);
        assert!(!again.has_good_numbers(), "{told:?}");
    }
}

#[test]
fn a_torn_transaction_is_found() {
    let hand = Hand::new();
    let both = hand.begin(What::Write(Write { puts: vec![0, 1], ..Write::default() }));
    hand.read(5, only(0, both, 5));
    hand.applied(both, 5);
    assert!(!hand.is_linearizable());
}

#[test]
fn compare_and_set_is_held_to_its_word() {
    let hand = Hand::new();
    let one = hand.put(0);
    hand.applied(one, 5);
    let guard = vec![(0, Expect::Is(Seen { value: one, revision: 5 }))];
    let guarded = || What::Write(Write { expects: guard.clone(), puts: vec![0], ..Write::default() });
    let (first, second) = (hand.begin(guarded()), hand.begin(guarded()));
    hand.applied(first, 6);
    let refused = Answer::Refused { key: Some(0), actual: 6, sure: true };
    hand.0.end(second, refused);
    assert!(hand.is_linearizable());
    let nameless = hand.begin(guarded());
    hand.0.end(nameless, Answer::Refused { key: None, actual: 6, sure: true });
    assert!(hand.is_linearizable());
    let third = hand.begin(guarded());
    hand.applied(third, 7);
    assert!(!hand.is_linearizable(), "two have won");
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    let hand = Hand::new();
    let one = hand.begin(What::Write(Write {
        expects: vec![(0, Expect::Absent)],
        puts: vec![0],
        ..Write::default()
    }));
    hand.0.end(one, Answer::Refused { key: Some(0), actual: 4, sure: true });
    assert!(!hand.is_linearizable());
}

fn stored(value: u64, revision: u64) -> Stored {
    Stored { value: Some(value), revision }
}

fn event(number: usize, old: Option<Stored>, new: Option<Stored>) -> Change {
    Change { key: key(0, number), old: Some(old), new }
}

/// Three writes: op 0 puts key 0 at revision 5, op 1 puts keys 0 and 1 at 7, op 2 deletes key 1 at 8.
fn three_writes() -> (History, Vec<Told>, Final) {
    let hand = Hand::new();
    let one = hand.put(0);
    hand.applied(one, 5);
    let both = hand.begin(What::Write(Write { puts: vec![0, 1], ..Write::default() }));
    hand.applied(both, 7);
    let gone = hand.begin(What::Write(Write { deletes: vec![1], ..Write::default() }));
    hand.applied(gone, 8);
    hand.0.look(Look { group: 0, revision: 6, contents: only(0, one, 5) });
    let told = vec![
        Told::Listed { revision: 4, objects: BTreeMap::new() },
        Told::Resumed { from: 4 },
        Told::Changes { revision: 5, events: vec![event(0, None, Some(stored(0, 5)))] },
        Told::Bookmark { revision: 6 },
        Told::Resumed { from: 6 },
        Told::Changes {
            revision: 7,
            events: vec![
                event(0, Some(stored(0, 5)), Some(stored(1, 7))),
                event(1, None, Some(stored(1, 7))),
            ],
        },
        Told::Changes { revision: 8, events: vec![event(1, Some(stored(1, 7)), None)] },
    ];
    let last = Final { objects: BTreeMap::from([(key(0, 0), stored(1, 7))]), revision: 8 };
    (hand.0.history(), told, last)
}

fn found(history: &History, told: &[Told], last: &Final) -> Vec<String> {
    watches::check(history, &[WatchLog { watcher: 0, told: told.to_vec() }], last)
}

#[test]
fn a_good_watch_is_good() {
    let (history, told, last) = three_writes();
    assert_eq!(found(&history, &told, &last), Vec::<String>::new());
    let mut listed_again = told.clone();
    let objects = BTreeMap::from([(key(0, 0), stored(0, 5))]);
    listed_again.splice(2..5, [Told::Compacted, Told::Listed { revision: 5, objects }]);
    assert_eq!(found(&history, &listed_again, &last), Vec::<String>::new());
}

#[test]
fn every_spoilt_watch_is_found() {
    let (history, told, last) = three_writes();
    let spoilt = |what: &str, spoil: &dyn Fn(&mut Vec<Told>)| {
        let mut told = told.clone();
        spoil(&mut told);
        let found = found(&history, &told, &last);
        assert!(!found.is_empty(), "{what} is not found");
        found.join("\n")
    };
    let dropped = spoilt("a dropped change", &|told| drop(told.remove(2)));
    assert!(dropped.contains("missed revision 5"), "{dropped}");
    spoilt("a dropped last change", &|told| drop(told.pop()));
    spoilt("a change passed over by a bookmark", &|told| {
        told.truncate(6);
        told.push(Told::Bookmark { revision: 8 });
    });
    spoilt("the wrong order", &|told| told.swap(5, 6));
    spoilt("a change told twice", &|told| told.push(told[6].clone()));
    let torn = spoilt("a torn change", &|told| {
        if let Told::Changes { events, .. } = &mut told[5] {
            events.truncate(1);
        }
        told.pop();
    });
    assert!(torn.contains("torn"), "{torn}");
    spoilt("a change that nobody made", &|told| {
        told.insert(3, Told::Changes { revision: 6, events: vec![event(2, None, Some(stored(9, 6)))] });
    });
    spoilt("a resume elsewhere", &|told| told[4] = Told::Resumed { from: 7 });
    spoilt("a resume after compaction without a list", &|told| told.insert(4, Told::Compacted));
    spoilt("a list that goes back", &|told| {
        told.push(Told::Listed { revision: 5, objects: BTreeMap::from([(key(0, 0), stored(0, 5))]) });
    });
    spoilt("a bookmark that goes back", &|told| told[3] = Told::Bookmark { revision: 4 });
}

#[test]
fn two_watchers_who_were_told_different_things_are_found() {
    let (_, told, last) = three_writes();
    // Nobody was told anything of his writes: one watch is all there is to go by.
    let hand = Hand::new();
    hand.put(0);
    hand.begin(What::Write(Write { puts: vec![0, 1], ..Write::default() }));
    hand.begin(What::Write(Write { deletes: vec![1], ..Write::default() }));
    let history = hand.0.history();
    let mut other = told.clone();
    if let Told::Changes { events, .. } = &mut other[5] {
        events.truncate(1);
    }
    other.pop();
    other.push(Told::Bookmark { revision: 8 });
    let alone =
        |told: &Vec<Told>| watches::check(&history, &[WatchLog { watcher: 0, told: told.clone() }], &last);
    assert_eq!((alone(&told), alone(&other)), (Vec::new(), Vec::new()));
    let logs = [WatchLog { watcher: 0, told }, WatchLog { watcher: 1, told: other }];
    assert!(!watches::check(&history, &logs, &last).is_empty());
}

#[test]
fn a_look_that_the_watch_does_not_bear_out_is_found() {
    let (mut history, told, last) = three_writes();
    history.looks[0].contents = [None; KEYS];
    assert!(!found(&history, &told, &last).is_empty());
}

/// Each lie, told once in a store that is otherwise well.
#[test]
fn a_lie_in_a_running_store_is_found() {
    let honest = run(sabotaged(1, Saboteur::default()));
    assert_eq!(honest.accusations, []);
    assert!(honest.acknowledged > 50, "{honest:?}");
    for lie in Lie::ALL {
        // Each time by some check; now and then by the search too, which needs somebody to read at the right moment.
        let mut by_the_search = lie.breaks() != Rule::Linearizable;
        for seed in 1..=6 {
            let saboteur = Saboteur::new(lie);
            let outcome = run(sabotaged(seed, saboteur.clone()));
            assert!(saboteur.has_lied(), "{lie:?} was never told");
            let found = &outcome.accusations;
            assert!(found.iter().any(|accusation| accusation.rule == lie.breaks()), "{lie:?}: {found:?}");
            by_the_search |= found.iter().any(|accusation| accusation.detail.contains("no order explains"));
            if by_the_search {
                break;
            }
        }
        assert!(by_the_search, "{lie:?} is never found by the search");
    }
}
