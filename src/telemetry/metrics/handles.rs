//! Counters and histograms of requests and calls, found without a lock, an allocation or a hash of all labels.
//!
//! A family of `prometheus_client` hashes owned labels under a lock: 1,500 instructions a request. What is counted for
//! each request is a few dozen combinations, which stay.
//!
//! Invariant: a place holds one combination for good. Only `telemetry::metrics` uses it.

use std::{sync::OnceLock, time::Duration};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

/// Places to begin at. Some forty routes and operations with a few statuses each are in use; a combination that finds
/// no place is looked up in the families each time.
const PLACES: usize = 256;
/// Places that a combination may have.
const TRIES: usize = 8;

/// What a handle belongs to: route, method and status, or operation, upstream and status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) name: &'a str,
    pub(super) of: &'static str,
    pub(super) status: u16,
}

/// What counts.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) time: Histogram,
    pub(super) count: Counter,
}

#[derive(Debug)]
struct Place {
    name: Box<str>,
    of: &'static str,
    status: u16,
    handle: Handle,
}

/// The combinations that were seen.
#[derive(Debug)]
pub(super) struct Handles(Box<[OnceLock<Place>]>);

impl Default for Handles {
    fn default() -> Self {
        Self((0..PLACES + TRIES).map(|_| OnceLock::new()).collect())
    }
}

impl Handles {
    /// Counts one that took so long; `make` finds out by what.
    pub(super) fn count(&self, key: Key<'_>, took: Duration, make: impl Fn() -> Handle) {
        let begin = key.begin();
        let tries = self.0.get(begin..begin + TRIES).unwrap_or_default();
        let places = tries.iter().map(|place| place.get_or_init(|| key.place(make())));
        let found = places.into_iter().find(|place| key.is_of(place));
        match found {
            Some(place) => place.handle.count(took),
            None => make().count(took),
        }
    }
}

impl Handle {
    fn count(&self, took: Duration) {
        self.time.observe(took.as_secs_f64());
        self.count.inc();
    }
}

impl Key<'_> {
    /// Returns where to begin looking: lengths, last letters and the status tell most of them apart.
    fn begin(&self) -> usize {
        let last = |text: &str| usize::from(text.as_bytes().last().copied().unwrap_or_default());
        [last(self.name), self.of.len(), last(self.of), self.status.into()]
            .iter()
            .fold(self.name.len(), |mixed, part| mixed.wrapping_mul(31).wrapping_add(*part))
            % PLACES
    }

    fn is_of(&self, place: &Place) -> bool {
        self.status == place.status && self.of == place.of && *self.name == *place.name
    }

    fn place(&self, handle: Handle) -> Place {
        Place { name: self.name.into(), of: self.of, status: self.status, handle }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

    use super::{Handle, Handles, Key, PLACES};

    fn handle(count: &Counter) -> Handle {
        Handle { time: Histogram::new([1.0]), count: count.clone() }
    }

    #[test]
    fn a_combination_is_looked_up_once() {
        let (handles, made, count) = (Handles::default(), Cell::new(0), Counter::default());
        for _ in 0..3 {
            handles.count(Key { name: "/v3/apps", of: "GET", status: 200 }, Duration::ZERO, || {
                made.set(made.get() + 1);
                handle(&count)
            });
        }
        assert_eq!((made.get(), count.get()), (1, 3));
    }

    #[test]
    fn combinations_that_find_no_place_are_counted_as_well_and_by_what_they_are() {
        let handles = Handles::default();
        let counts: Vec<Counter> = (0..2 * PLACES).map(|_| Counter::default()).collect();
        for _ in 0..2 {
            for (number, count) in counts.iter().enumerate() {
                let name = format!("/{number:04}/x");
                let key = Key { name: &name, of: "GET", status: 200 };
                handles.count(key, Duration::ZERO, || handle(count));
            }
        }
        assert!(counts.iter().all(|count| count.get() == 2));
    }
}
