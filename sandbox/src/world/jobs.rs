//! Jobs: what CC does behind a 202. They finish lazily, by time, when somebody looks; while one is pending its route stays
//! readable and its host taken (recorded).

use std::time::Duration;

use tokio::time::Instant;

use crate::world::{Timestamps, WorldState, new_guid};

/// How long a job takes unless told otherwise. Real ones took 0 to 2 s (recorded); long enough that a caller who does not wait
/// meets the window, short enough not to slow tests.
const DEFAULT_DELAY: Duration = Duration::from_millis(200);

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) guid: String,
    pub(crate) subject: JobSubject,
    pub(crate) state: JobState,
    pub(crate) stamp: Timestamps,
    due: Instant,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobSubject {
    /// Deletes the route with this guid.
    Route(String),
    /// Deletes every unmapped route of the space with this guid.
    UnmappedRoutes(String),
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobState {
    /// Not yet done.
    Processing,
    /// Done.
    Complete,
    /// Given up, with CC's detail; nothing was changed.
    Failed(String),
}

/// What the levers did to the worker.
#[derive(Clone, Debug)]
pub(crate) struct JobSettings {
    pub(crate) delay: Duration,
    pub(crate) paused: bool,
    /// So many of the next jobs to finish end FAILED, with this detail.
    pub(crate) failing: (u64, String),
}

impl Default for JobSettings {
    fn default() -> Self {
        Self { delay: DEFAULT_DELAY, paused: false, failing: (0, String::new()) }
    }
}

impl JobSubject {
    /// Returns the name of the operation as CC shows it.
    pub(crate) fn operation(&self) -> &'static str {
        match self {
            Self::Route(_) => "route.delete",
            Self::UnmappedRoutes(_) => "space.delete_unmapped_routes",
        }
    }
}

impl WorldState {
    /// Enqueues a job and returns its guid.
    pub(crate) fn enqueue(&mut self, subject: JobSubject) -> String {
        let job = Job {
            guid: new_guid(),
            subject,
            state: JobState::Processing,
            stamp: self.stamp(),
            due: Instant::now() + self.job_settings.delay,
        };
        let guid = job.guid.clone();
        self.jobs.push(job);
        guid
    }

    /// Finishes the jobs that are due.
    pub(crate) fn finish_due_jobs(&mut self, now: Instant) {
        if self.job_settings.paused {
            return;
        }
        let mut jobs = std::mem::take(&mut self.jobs);
        for job in &mut jobs {
            if job.state == JobState::Processing && job.due <= now {
                job.state = self.finish(&job.subject);
                self.touch(&mut job.stamp);
            }
        }
        self.jobs = jobs;
    }

    /// Tells whether a delete of the route is pending.
    pub(crate) fn is_deleting(&self, route: &str) -> bool {
        self.jobs.iter().any(|job| {
            job.state == JobState::Processing
                && matches!(&job.subject, JobSubject::Route(guid) if guid == route)
        })
    }

    fn finish(&mut self, subject: &JobSubject) -> JobState {
        let (left, detail) = &mut self.job_settings.failing;
        if *left > 0 {
            *left -= 1;
            return JobState::Failed(detail.clone());
        }
        match subject {
            JobSubject::Route(guid) => self.routes.retain(|route| route.guid != *guid),
            JobSubject::UnmappedRoutes(space) => {
                self.routes.retain(|route| route.space != *space || !route.targets.is_empty());
            }
        }
        JobState::Complete
    }
}
