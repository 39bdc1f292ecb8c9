//! When keys may be fetched: one flight, back-off, cooldown of unknown names (`callers.md` 5).
//!
//! Invariant: every fetch begins with a [`Step::Fetch`] of this book, which also notes it. Pure but
//! for the handle of the flight. For [`keys`](super::keys) only.

use super::source::KeyError;
use std::{collections::VecDeque, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Shortest pause after a fetch that failed: at most one a second (R18).
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause: bounds how long callers stay refused after the issuer is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Between two fetches for unknown names, and how long a name counts as unknown: a flood of
/// invented ones must not become a flood of fetches (R19).
const COOLDOWN: Duration = Duration::from_secs(60);

/// Most names remembered as unknown, 256 KiB at the longest `kid`.
const UNKNOWN_LIMIT: usize = 1024;

/// The bookkeeping of one address.
#[derive(Default)]
pub(super) struct Book {
    flight: Option<watch::Receiver<()>>,
    failures: u32,
    /// No fetch before this moment.
    pause_until: Option<Instant>,
    /// When a fetch was last spent on an unknown name.
    asked_at: Option<Instant>,
    /// Names that the issuer did not know, oldest first, with the end of that knowledge; those
    /// that are over make room when the list is full.
    unknown: VecDeque<(String, Instant)>,
}

/// What to do next.
pub(super) enum Step {
    /// Fetch, and drop the sender when that is done.
    Fetch(watch::Sender<()>),
    /// Wait for the fetch that is under way.
    Join(Flight),
    /// Do without.
    Refuse(KeyError),
}

/// A fetch under way.
pub(super) struct Flight(watch::Receiver<()>);

impl Flight {
    /// The flight that ends when `landing` is dropped.
    pub(super) fn to(landing: &watch::Sender<()>) -> Self {
        Self(landing.subscribe())
    }

    /// Waits for the end, good or bad; a panic in the fetch ends it too.
    pub(super) async fn landed(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Book {
    /// Joins the flight or begins one; `None` while a pause forbids it.
    pub(super) fn board(&mut self, now: Instant) -> Option<Step> {
        if let Some(flight) = self.in_the_air() {
            return Some(Step::Join(flight));
        }
        if self.pause_until.is_some_and(|until| now < until) {
            return None;
        }
        let (landing, flight) = watch::channel(());
        self.flight = Some(flight);
        // Stands until the outcome is noted: a fetch that dies without one is not repeated at once.
        self.pause_until = Some(now + FIRST_PAUSE);
        Some(Step::Fetch(landing))
    }

    /// Decides about a name that the held set does not know.
    pub(super) fn step(&mut self, kid: &str, now: Instant) -> Step {
        if self.is_known_unknown(kid, now) {
            return Step::Refuse(self.refusal(now));
        }
        if let Some(flight) = self.in_the_air() {
            return Step::Join(flight);
        }
        if self.asked_at.is_some_and(|asked| now < asked + COOLDOWN) {
            return Step::Refuse(self.refusal(now));
        }
        let Some(step) = self.board(now) else {
            return Step::Refuse(self.unavailable(now));
        };
        self.asked_at = Some(now);
        step
    }

    /// Notes that a fetch did not bring `kid`; the fetch counts as spent on it.
    pub(super) fn remember_unknown(&mut self, kid: &str, now: Instant) {
        self.asked_at = Some(now);
        if self.unknown.len() == UNKNOWN_LIMIT {
            self.unknown.pop_front();
        }
        self.unknown.push_back((kid.to_owned(), now + COOLDOWN));
    }

    /// Notes a success.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
        self.pause_until = None;
    }

    /// Notes a failure: the next pause is twice as long.
    pub(super) fn fail(&mut self, now: Instant) {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.pause_until = Some(now + FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE));
    }

    /// Whether the last fetch failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// The refusal while nobody can say.
    pub(super) fn unavailable(&self, now: Instant) -> KeyError {
        KeyError::Unavailable { retry_after: self.pause(now) }
    }

    /// What is left of the pause, at least the shortest one.
    fn pause(&self, now: Instant) -> Duration {
        let pause = self.pause_until.map(|until| until.saturating_duration_since(now));
        pause.unwrap_or_default().max(FIRST_PAUSE)
    }

    /// The refusal of an unknown name: in an outage it may be a new key, so nobody can say.
    fn refusal(&self, now: Instant) -> KeyError {
        if !self.is_failing() {
            return KeyError::Unknown;
        }
        let cooldown = self.asked_at.map(|asked| (asked + COOLDOWN).saturating_duration_since(now));
        KeyError::Unavailable { retry_after: self.pause(now).max(cooldown.unwrap_or_default()) }
    }

    /// The flight under way; its sender lives exactly as long as the fetch.
    fn in_the_air(&self) -> Option<Flight> {
        let flight = self.flight.as_ref()?;
        flight.has_changed().ok().map(|_| Flight(flight.clone()))
    }

    fn is_known_unknown(&self, kid: &str, now: Instant) -> bool {
        self.unknown.iter().any(|(name, until)| name == kid && now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::{Book, COOLDOWN, LONGEST_PAUSE, Step, UNKNOWN_LIMIT};
    use crate::auth::source::KeyError;
    use std::time::Duration;
    use tokio::time::{self, Instant};

    #[tokio::test(start_paused = true)]
    async fn the_list_of_unknown_names_is_bounded_and_forgets_the_oldest() {
        let mut book = Book::default();
        let now = Instant::now();
        for number in 0..=UNKNOWN_LIMIT {
            book.remember_unknown(&format!("kid-{number}"), now);
        }
        assert_eq!(book.unknown.len(), UNKNOWN_LIMIT);
        assert!(!book.is_known_unknown("kid-0", now));
        assert!(book.is_known_unknown("kid-1", now));
        assert!(!book.is_known_unknown("kid-1", now + COOLDOWN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_remembered_name_is_refused_even_when_a_fetch_would_be_lawful() {
        let mut book = Book::default();
        book.remember_unknown("kid", Instant::now());
        book.asked_at = None;
        let step = book.step("kid", Instant::now());
        assert!(matches!(step, Step::Refuse(KeyError::Unknown)));
        assert!(matches!(book.step("other", Instant::now()), Step::Fetch(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let mut book = Book::default();
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                let now = Instant::now();
                book.fail(now);
                (book.pause_until.unwrap() - now).as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(LONGEST_PAUSE, Duration::from_secs(16));
        book.succeed();
        assert!(!book.is_failing() && book.pause_until.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_failures_do_not_overflow() {
        let mut book = Book { failures: u32::MAX, ..Book::default() };
        book.fail(Instant::now());
        assert_eq!(
            book.unavailable(Instant::now()),
            KeyError::Unavailable { retry_after: LONGEST_PAUSE }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_is_joined_until_its_sender_is_gone() {
        let mut book = Book::default();
        let now = Instant::now();
        let Some(Step::Fetch(landing)) = book.board(now) else {
            panic!("no first fetch");
        };
        assert!(matches!(book.board(now), Some(Step::Join(_))));
        assert!(matches!(book.step("kid", now), Step::Join(_)));
        drop(landing);
        book.succeed();
        time::advance(Duration::from_millis(1)).await;
        assert!(matches!(book.board(Instant::now()), Some(Step::Fetch(_))));
    }
}
