//! The spans that are open, with what they add to the lines that are written within them.
//!
//! Invariant: a span lives while somebody holds it, be it one that was opened within it; its memory
//! serves the next one. No lock is held while a value shows itself, for that may write a line. Only
//! `telemetry::logs` uses it.

use std::{
    cell::RefCell,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing::{Metadata, span::Id};

use super::json_fields::JsonFields;

/// Threads that open spans without waiting for each other; a broker has a thread per core, which
/// are few.
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
    slots: Vec<SpanSlot>,
    /// Slots without a span.
    free: Vec<usize>,
}

#[derive(Default)]
struct SpanSlot {
    /// Part of the id: that of a span that is gone names none of those that come after it.
    generation: u32,
    holders: usize,
    parent: Option<Id>,
    meta: Option<&'static Metadata<'static>>,
    fields: JsonFields,
}

/// What becomes of a span that one holder has left.
pub(super) enum Released {
    /// Others hold it.
    Held,
    /// It is gone, and its hold on its parent has to go as well.
    Closed(Option<Id>),
}

/// Where a span is, and which of those that were there.
#[derive(Clone, Copy)]
struct SpanKey {
    shard: usize,
    index: usize,
    generation: u32,
}

impl Spans {
    /// Opens a span with what it adds to lines; leaves memory for the next one in place of it. The
    /// span holds its parent, as who gives it has to.
    pub(super) fn open(
        &self,
        meta: &'static Metadata<'static>,
        parent: Option<Id>,
        fields: &mut JsonFields,
    ) -> Id {
        let number = SHARD.try_with(|shard| *shard).unwrap_or_default();
        let mut key = SpanKey { shard: number, index: 0, generation: 0 };
        let Some(mut shard) = self.0.get(number).map(lock) else { return key.id() };
        key.index = shard.free.pop().unwrap_or_else(|| {
            shard.slots.push(SpanSlot::default());
            shard.slots.len() - 1
        });
        if let Some(slot) = shard.slots.get_mut(key.index) {
            (slot.holders, slot.parent, slot.meta) = (1, parent, Some(meta));
            mem::swap(&mut slot.fields, fields);
            key.generation = slot.generation;
        }
        key.id()
    }

    /// Adds to what a span adds to lines.
    pub(super) fn add(&self, id: &Id, fields: &JsonFields) {
        self.with(id, |slot| slot.fields.append_missing(fields));
    }

    /// Holds a span once more.
    pub(super) fn retain(&self, id: &Id) {
        self.with(id, |slot| slot.holders += 1);
    }

    /// Lets go of a span.
    pub(super) fn release(&self, id: &Id) -> Released {
        let key = SpanKey::of(id);
        let Some(mut shard) = self.0.get(key.shard).map(lock) else { return Released::Held };
        let Some(slot) = key.slot(&mut shard) else { return Released::Held };
        slot.holders = slot.holders.saturating_sub(1);
        if slot.holders > 0 || slot.meta.take().is_none() {
            return Released::Held;
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.fields.clear();
        let parent = slot.parent.take();
        shard.free.push(key.index);
        Released::Closed(parent)
    }

    /// Adds to a line what a span and those around it say, the nearest first.
    pub(super) fn append_to(&self, id: Id, line: &mut JsonFields) {
        let mut next = Some(id);
        while let Some(id) = next {
            next = self.with(&id, |slot| {
                line.append_missing(&slot.fields);
                slot.parent.clone()
            });
        }
    }

    /// Returns what kind of span it is.
    pub(super) fn meta(&self, id: &Id) -> Option<&'static Metadata<'static>> {
        self.with(id, |slot| slot.meta)
    }

    fn with<T: Default>(&self, id: &Id, act: impl FnOnce(&mut SpanSlot) -> T) -> T {
        let key = SpanKey::of(id);
        let Some(mut shard) = self.0.get(key.shard).map(lock) else { return T::default() };
        key.slot(&mut shard).map(act).unwrap_or_default()
    }
}

impl SpanKey {
    fn of(id: &Id) -> Self {
        let number = id.into_u64() - 1;
        let (generation, key) = (number >> 32, number & u64::from(u32::MAX));
        let key = usize::try_from(key).unwrap_or(usize::MAX);
        let generation = u32::try_from(generation).unwrap_or_default();
        Self { shard: key % SHARDS, index: key / SHARDS, generation }
    }

    /// Ids begin with one.
    fn id(self) -> Id {
        let key = u64::try_from(self.index * SHARDS + self.shard).unwrap_or_default();
        Id::from_u64((u64::from(self.generation) << 32 | key) + 1)
    }

    /// Returns the slot, if the span is still the one that is there.
    fn slot(self, shard: &mut Shard) -> Option<&mut SpanSlot> {
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
