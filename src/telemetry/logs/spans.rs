//! The spans that are open, with what they add to the lines that are written within them.
//!
//! Invariant: a span lives while somebody holds it, be it one that was opened within it; its memory serves the next
//! one. No lock is held while a value shows itself, for that may write a line. Only `telemetry::logs` uses it.

use std::{
    cell::RefCell,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing::{Metadata, span::Id};

use super::members::Members;

/// Threads that open spans without waiting for each other; a broker has a thread per core, which are few.
const SHARDS: usize = 16;

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
    /// Where this thread opens spans.
    static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// All spans of the process.
#[derive(Default)]
pub(super) struct Spans([Mutex<Shard>; SHARDS]);

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    /// Slots without a span.
    free: Vec<usize>,
}

#[derive(Default)]
struct Slot {
    /// Part of the id: that of a span that is gone names none of those that come after it.
    generation: u32,
    holders: usize,
    parent: Option<Id>,
    meta: Option<&'static Metadata<'static>>,
    members: Members,
}

/// What becomes of a span that one holder has left.
pub(super) enum Left {
    /// Others hold it.
    Held,
    /// It is gone, and its hold on its parent has to go as well.
    Closed(Option<Id>),
}

/// Where a span is, and which of those that were there.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    index: usize,
    generation: u32,
}

impl Spans {
    /// Opens a span with what it adds to lines; leaves memory for the next one in place of it. The span holds its
    /// parent, as who gives it has to.
    pub(super) fn open(
        &self,
        meta: &'static Metadata<'static>,
        parent: Option<Id>,
        members: &mut Members,
    ) -> Id {
        let number = SHARD.try_with(|shard| *shard).unwrap_or_default();
        let mut place = Place { shard: number, index: 0, generation: 0 };
        let Some(mut shard) = self.0.get(number).map(lock) else { return place.id() };
        place.index = shard.free.pop().unwrap_or_else(|| {
            shard.slots.push(Slot::default());
            shard.slots.len() - 1
        });
        if let Some(slot) = shard.slots.get_mut(place.index) {
            (slot.holders, slot.parent, slot.meta) = (1, parent, Some(meta));
            mem::swap(&mut slot.members, members);
            place.generation = slot.generation;
        }
        place.id()
    }

    /// Adds to what a span adds to lines.
    pub(super) fn add(&self, id: &Id, members: &Members) {
        self.with(id, |slot| slot.members.take_over(members));
    }

    /// Holds a span once more.
    pub(super) fn hold(&self, id: &Id) {
        self.with(id, |slot| slot.holders += 1);
    }

    /// Lets go of a span.
    pub(super) fn let_go(&self, id: &Id) -> Left {
        let place = Place::of(id);
        let Some(mut shard) = self.0.get(place.shard).map(lock) else { return Left::Held };
        let Some(slot) = place.slot(&mut shard) else { return Left::Held };
        slot.holders = slot.holders.saturating_sub(1);
        if slot.holders > 0 || slot.meta.take().is_none() {
            return Left::Held;
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.members.clear();
        let parent = slot.parent.take();
        shard.free.push(place.index);
        Left::Closed(parent)
    }

    /// Adds to a line what a span and those around it say, the nearest first.
    pub(super) fn tell(&self, id: Id, line: &mut Members) {
        let mut next = Some(id);
        while let Some(id) = next {
            next = self.with(&id, |slot| {
                line.take_over(&slot.members);
                slot.parent.clone()
            });
        }
    }

    /// Returns what kind of span it is.
    pub(super) fn meta(&self, id: &Id) -> Option<&'static Metadata<'static>> {
        self.with(id, |slot| slot.meta)
    }

    fn with<T: Default>(&self, id: &Id, act: impl FnOnce(&mut Slot) -> T) -> T {
        let place = Place::of(id);
        let Some(mut shard) = self.0.get(place.shard).map(lock) else { return T::default() };
        place.slot(&mut shard).map(act).unwrap_or_default()
    }
}

impl Place {
    fn of(id: &Id) -> Self {
        let number = id.into_u64() - 1;
        let (generation, place) = (number >> 32, number & u64::from(u32::MAX));
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let generation = u32::try_from(generation).unwrap_or_default();
        Self { shard: place % SHARDS, index: place / SHARDS, generation }
    }

    /// Ids begin with one.
    fn id(self) -> Id {
        let place = u64::try_from(self.index * SHARDS + self.shard).unwrap_or_default();
        Id::from_u64((u64::from(self.generation) << 32 | place) + 1)
    }

    /// Returns the slot, if the span is still the one that is there.
    fn slot(self, shard: &mut Shard) -> Option<&mut Slot> {
        shard.slots.get_mut(self.index).filter(|slot| slot.generation == self.generation)
    }
}

/// Notes that this thread is in a span.
pub(super) fn enter(id: &Id) {
    _ = ENTERED.try_with(|entered| entered.borrow_mut().push(id.clone()));
}

/// Notes that this thread has left a span; it need not be the innermost.
pub(super) fn exit(id: &Id) {
    _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        if let Some(at) = entered.iter().rposition(|open| open == id) {
            entered.remove(at);
        }
    });
}

/// Returns the innermost span that this thread is in.
pub(super) fn current() -> Option<Id> {
    ENTERED.try_with(|entered| entered.borrow().last().cloned()).ok().flatten()
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
