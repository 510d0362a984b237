//! A value and those who wait for the next one. Chance says who of them hears first, as in life, and it is the seed's: who waits
//! at one `watch` together with others is woken in an order that no seed reaches.

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::dice::Dice;

pub struct News<T> {
    state: Mutex<State<T>>,
    dice: Dice,
}

struct State<T> {
    newest: T,
    readers: Vec<watch::Sender<T>>,
}

impl<T: Clone> News<T> {
    pub fn new(newest: T, dice: Dice) -> News<T> {
        News { state: Mutex::new(State { newest, readers: Vec::new() }), dice }
    }

    pub fn newest(&self) -> T {
        self.look(T::clone)
    }

    pub fn look<R>(&self, at: impl FnOnce(&T) -> R) -> R {
        at(&self.state.lock().newest)
    }

    pub fn subscribe(&self) -> watch::Receiver<T> {
        let mut state = self.state.lock();
        let (reader, news) = watch::channel(state.newest.clone());
        state.readers.push(reader);
        news
    }

    pub fn tell(&self, newest: T) {
        let mut state = self.state.lock();
        state.readers.retain(|reader| !reader.is_closed());
        let count = state.readers.len();
        for place in 1..count {
            let other = self.dice.roll(place as u64 + 1) as usize;
            state.readers.swap(place, other);
        }
        for reader in &state.readers {
            reader.send_replace(newest.clone());
        }
        state.newest = newest;
    }
}
