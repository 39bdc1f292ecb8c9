//! Counters and histograms of requests and calls, found without a lock, an allocation or a hash of
//! all labels.
//!
//! A `prometheus_client` family hashes owned labels under a lock: 1,500 instructions per request.
//! Requests use only a few dozen label combinations, which never change.
//!
//! Invariant: a slot keeps its combination forever. Used by `telemetry::metrics` only.

use std::{sync::OnceLock, time::Duration};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

/// Number of start positions. About forty routes and operations with a few statuses each are in
/// use; a combination without a slot is looked up in the families each time.
const SLOTS: usize = 256;
/// Slots that are probed for a combination.
const PROBES: usize = 8;

/// The combination of a handle: route, method and status, or operation, upstream and status.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandleKey<'a> {
    pub(super) name: &'a str,
    pub(super) of: &'static str,
    pub(super) status: u16,
}

/// The counter and the histogram of one combination.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) time: Histogram,
    pub(super) count: Counter,
}

#[derive(Debug)]
struct HandleSlot {
    name: Box<str>,
    of: &'static str,
    status: u16,
    handle: Handle,
}

/// The combinations seen so far.
#[derive(Debug)]
pub(super) struct Handles(Box<[OnceLock<HandleSlot>]>);

impl Default for Handles {
    fn default() -> Self {
        Self((0..SLOTS + PROBES).map(|_| OnceLock::new()).collect())
    }
}

impl Handles {
    /// Counts one call and its duration; `make` looks up the handle.
    pub(super) fn count(&self, key: HandleKey<'_>, took: Duration, make: impl Fn() -> Handle) {
        let start = key.start();
        let probed = self.0.get(start..start + PROBES).unwrap_or_default();
        let slots = probed.iter().map(|slot| slot.get_or_init(|| key.slot(make())));
        let found = slots.into_iter().find(|slot| key.is_of(slot));
        match found {
            Some(slot) => slot.handle.count(took),
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

impl HandleKey<'_> {
    /// Returns the first slot to probe: lengths, last letters and the status distinguish most
    /// combinations.
    fn start(&self) -> usize {
        let last = |text: &str| usize::from(text.as_bytes().last().copied().unwrap_or_default());
        [last(self.name), self.of.len(), last(self.of), self.status.into()]
            .iter()
            .fold(self.name.len(), |mixed, part| mixed.wrapping_mul(31).wrapping_add(*part))
            % SLOTS
    }

    fn is_of(&self, slot: &HandleSlot) -> bool {
        self.status == slot.status && self.of == slot.of && *self.name == *slot.name
    }

    fn slot(&self, handle: Handle) -> HandleSlot {
        HandleSlot { name: self.name.into(), of: self.of, status: self.status, handle }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

    use super::{Handle, HandleKey, Handles, SLOTS};

    fn handle(count: &Counter) -> Handle {
        Handle { time: Histogram::new([1.0]), count: count.clone() }
    }

    #[test]
    fn a_combination_is_looked_up_once() {
        let (handles, made, count) = (Handles::default(), Cell::new(0), Counter::default());
        for _ in 0..3 {
            handles.count(
                HandleKey { name: "/v3/apps", of: "GET", status: 200 },
                Duration::ZERO,
                || {
                    made.set(made.get() + 1);
                    handle(&count)
                },
            );
        }
        assert_eq!((made.get(), count.get()), (1, 3));
    }

    #[test]
    fn combinations_without_a_slot_are_counted_correctly() {
        let handles = Handles::default();
        let counts: Vec<Counter> = (0..2 * SLOTS).map(|_| Counter::default()).collect();
        for _ in 0..2 {
            for (number, count) in counts.iter().enumerate() {
                let name = format!("/{number:04}/x");
                let key = HandleKey { name: &name, of: "GET", status: 200 };
                handles.count(key, Duration::ZERO, || handle(count));
            }
        }
        assert!(counts.iter().all(|count| count.get() == 2));
    }
}
