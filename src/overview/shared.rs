//! Reads that viewers share.
//!
//! Invariant: at most one read runs per key. All who wait for it get its result, an error too. A
//! value serves for a few seconds after its read began; an error serves nobody who comes later.
//! When the viewer that began a read goes away, one of those who wait begins anew. Callers:
//! [`super::Overview`].

use crate::capi::CapiError;
use moka::future::Cache;
use std::{hash::Hash, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a value serves. Who changes something and looks again must not wait for long.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// How long a value takes memory.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Values of one kind by key.
pub(super) struct SharedReads<K, V>(Cache<K, SharedRead<V>>);

/// The result of a read, and when it began.
struct SharedRead<V> {
    result: Result<Arc<V>, CapiError>,
    begun: Instant,
}

impl<V> Clone for SharedRead<V> {
    fn clone(&self) -> Self {
        Self { result: self.result.clone(), begun: self.begun }
    }
}

impl<K, V> SharedReads<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Keeps at most this weight.
    pub(super) fn new(weight: u32, of: fn(&V) -> u32) -> Self {
        let weigher =
            move |_: &K, read: &SharedRead<V>| read.result.as_ref().map_or(1, |it| of(it));
        let cache = Cache::builder().max_capacity(weight.into()).weigher(weigher);
        Self(cache.time_to_live(KEPT_FOR).build())
    }

    /// Returns the value of a key, else what `reading` finds.
    ///
    /// # Errors
    /// That of `reading`, or of the read that was waited for.
    pub(super) async fn get(
        &self,
        key: K,
        reading: impl Future<Output = Result<V, CapiError>>,
    ) -> Result<Arc<V>, CapiError> {
        let read = async {
            let begun = Instant::now();
            SharedRead { result: reading.await.map(Arc::new), begun }
        };
        let is_over =
            |read: &SharedRead<V>| read.result.is_err() || read.begun.elapsed() >= FRESH_FOR;
        let entry = self.0.entry(key).or_insert_with_if(Box::pin(read), is_over).await;
        entry.into_value().result
    }
}

#[cfg(test)]
mod tests;
