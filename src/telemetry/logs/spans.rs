//! The open spans, with the fields that they add to lines.
//!
//! Invariant: a span lives while it has a holder; its child spans are holders too. Its buffer is
//! reused. No lock is held while a value is formatted, because that may write a line. Used by
//! `telemetry::logs` only.

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

/// Shards, so that threads open spans without waiting for each other; the broker has one thread per
/// core.
const SHARDS: usize = 16;

thread_local! {
    /// The spans that this thread has entered, the innermost last.
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
    /// The shard of this thread.
    static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// All spans of the process.
#[derive(Default)]
pub(super) struct Spans([Mutex<Shard>; SHARDS]);

#[derive(Default)]
struct Shard {
    slots: Vec<SpanSlot>,
    /// Indexes of free slots.
    free: Vec<usize>,
}

#[derive(Default)]
struct SpanSlot {
    /// Part of the id, so that the id of a closed span never names a later span in the same slot.
    generation: u32,
    holders: usize,
    parent: Option<Id>,
    meta: Option<&'static Metadata<'static>>,
    fields: JsonFields,
}

/// The result of releasing one hold of a span.
pub(super) enum Released {
    /// It has other holders.
    Held,
    /// It is closed, and its hold on its parent must be released too.
    Closed(Option<Id>),
}

/// Identifies a span: its slot and the slot's generation.
#[derive(Clone, Copy)]
struct SpanKey {
    shard: usize,
    index: usize,
    generation: u32,
}

impl Spans {
    /// Opens a span with its fields and leaves the slot's old buffer in `fields`. The caller must
    /// hold the parent for the span.
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

    /// Adds fields to a span.
    pub(super) fn add(&self, id: &Id, fields: &JsonFields) {
        self.with(id, |slot| slot.fields.append_missing(fields));
    }

    /// Adds a holder to a span.
    pub(super) fn retain(&self, id: &Id) {
        self.with(id, |slot| slot.holders += 1);
    }

    /// Releases one hold of a span.
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

    /// Appends the fields of a span and of its parents to a line, the nearest first.
    pub(super) fn append_to(&self, id: Id, line: &mut JsonFields) {
        let mut next = Some(id);
        while let Some(id) = next {
            next = self.with(&id, |slot| {
                line.append_missing(&slot.fields);
                slot.parent.clone()
            });
        }
    }

    /// Returns the span's metadata.
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

    /// Ids begin with 1.
    fn id(self) -> Id {
        let key = u64::try_from(self.index * SHARDS + self.shard).unwrap_or_default();
        Id::from_u64((u64::from(self.generation) << 32 | key) + 1)
    }

    /// Returns the slot if it still belongs to this span.
    fn slot(self, shard: &mut Shard) -> Option<&mut SpanSlot> {
        shard.slots.get_mut(self.index).filter(|slot| slot.generation == self.generation)
    }
}

/// Records that this thread has entered a span.
pub(super) fn enter(id: &Id) {
    _ = ENTERED.try_with(|entered| entered.borrow_mut().push(id.clone()));
}

/// Records that this thread has left a span; it need not be the innermost.
pub(super) fn exit(id: &Id) {
    _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        if let Some(at) = entered.iter().rposition(|open| open == id) {
            entered.remove(at);
        }
    });
}

/// Returns the innermost span of this thread.
pub(super) fn current() -> Option<Id> {
    ENTERED.try_with(|entered| entered.borrow().last().cloned()).ok().flatten()
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
