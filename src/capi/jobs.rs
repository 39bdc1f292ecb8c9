//! Jobs: CF's asynchronous operations, polled until they end.
//!
//! Invariant: polling ends at the given moment. CF sends no `Retry-After` here, and every poll
//! counts for the rate limit. Callers: `routes`.

use super::{
    Call, CapiError, CfRequestClient, answer,
    model::{CapiErrors, Guid, Job, JobState},
    spaces::absent_if_missing,
};
use crate::upstream::retry::Backoff;
use http::Method;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Waits between polls: a usual route job takes 0 to 2 s. Half of the longest one would double the
/// calls of a slow job; waiting callers would notice twice of it.
const WAITS: Backoff = Backoff::doubling(Duration::from_millis(250), Duration::from_secs(2));

/// State of a job when polling ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// Done.
    Complete,
    /// Ended with errors.
    Failed(CapiErrors),
    /// CF no longer knows it; the caller must check the resource itself.
    Gone,
    /// Still running.
    Running,
}

/// Counts the waits between polls. The caller keeps it if one wait has two parts.
#[derive(Clone, Debug, Default)]
pub struct Pace(u32);

impl Pace {
    /// Waits for the next poll, at most until `end`; returns whether `end` is reached.
    pub async fn pause(&mut self, end: Instant) -> Turn {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Turn::Over;
        }
        sleep(WAITS.wait(self.0).min(left)).await;
        self.0 += 1;
        Turn::Next
    }
}

/// Whether to poll again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Poll again.
    Next,
    /// The time is over.
    Over,
}

impl CfRequestClient {
    /// Polls a job until it ends or `end` is reached. Polls at least once, and once more at the
    /// end.
    ///
    /// # Errors
    /// Any [`CapiError`] of a poll except `NotFound`.
    pub async fn await_job(
        &self,
        job: &Guid,
        pace: &mut Pace,
        end: Instant,
    ) -> Result<JobOutcome, CapiError> {
        loop {
            let outcome = self.job(job).await?;
            if outcome != JobOutcome::Running || pace.pause(end).await == Turn::Over {
                return Ok(outcome);
            }
        }
    }

    /// Polls a job once.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call except `NotFound`.
    pub async fn job(&self, job: &Guid) -> Result<JobOutcome, CapiError> {
        let call = Call::new("read_job", Method::GET, format!("/v3/jobs/{job}"));
        let read = absent_if_missing(answer::expect::<Job>(&self.send(&call).await?))?;
        let Some(job) = read else {
            return Ok(JobOutcome::Gone);
        };
        Ok(match job.state {
            JobState::Complete => JobOutcome::Complete,
            JobState::Failed => JobOutcome::Failed(CapiErrors { errors: job.errors }),
            JobState::Processing | JobState::Polling | JobState::Unknown => JobOutcome::Running,
        })
    }
}
