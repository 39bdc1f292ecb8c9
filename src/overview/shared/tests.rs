use super::{FRESH_FOR, SharedReads};
use crate::capi::CapiError;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{advance, sleep};

type Reads = SharedReads<&'static str, u32>;

fn reads() -> Reads {
    SharedReads::new(100, |_| 1)
}

/// Reads after a second; the value is the number of the read.
async fn numbered(count: &AtomicU32) -> Result<u32, CapiError> {
    let number = count.fetch_add(1, Ordering::SeqCst);
    sleep(Duration::from_secs(1)).await;
    Ok(number)
}

#[tokio::test(start_paused = true)]
async fn a_value_serves_until_it_is_old() {
    let (reads, count) = (reads(), AtomicU32::new(0));
    assert_eq!(*reads.get("a", numbered(&count)).await.unwrap(), 0);
    // The read took a second.
    advance(Duration::from_millis(3_999)).await;
    assert_eq!(*reads.get("a", numbered(&count)).await.unwrap(), 0);
    advance(Duration::from_millis(1)).await;
    assert_eq!(*reads.get("a", numbered(&count)).await.unwrap(), 1);
    assert_eq!(*reads.get("b", numbered(&count)).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_who_come_at_once_share_one_read_also_of_an_old_value() {
    let (reads, count) = (reads(), AtomicU32::new(0));
    for expected in 0..2 {
        let all = tokio::join!(
            reads.get("a", numbered(&count)),
            reads.get("a", numbered(&count)),
            reads.get("a", numbered(&count))
        );
        assert_eq!([all.0, all.1, all.2].map(|one| *one.unwrap()), [expected; 3]);
        advance(FRESH_FOR).await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_serves_those_who_wait_and_nobody_else() {
    let (reads, count) = (reads(), AtomicU32::new(0));
    let failing = || async {
        count.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_secs(1)).await;
        Err(CapiError::Internal("test"))
    };
    let (one, other) = tokio::join!(reads.get("a", failing()), reads.get("a", failing()));
    assert!(one.is_err() && other.is_err());
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(*reads.get("a", numbered(&count)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_is_replaced_by_one_who_waits() {
    let (reads, count) = (Arc::new(reads()), Arc::new(AtomicU32::new(0)));
    let hasty = tokio::time::timeout(Duration::from_millis(500), reads.get("a", numbered(&count)));
    let (gone, got) = tokio::join!(hasty, reads.get("a", numbered(&count)));
    assert!(gone.is_err());
    assert_eq!(*got.unwrap(), 1);
}
