//! Jobs: the work behind a 202 of CC. A job that is due finishes at the next access. While a job is
//! pending its route is readable and its host is taken (recorded).

use std::time::Duration;

use tokio::time::Instant;

use crate::world::{JobFate, LabelAnswer, LabelRace, Timestamps, WorldState, new_guid};

/// The default time of a job. Real ones took 0 to 2 s (recorded). A caller who does not wait sees
/// the pending job, and tests stay fast.
const DEFAULT_DELAY: Duration = Duration::from_millis(200);

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) guid: String,
    pub(crate) subject: JobSubject,
    pub(crate) state: JobState,
    pub(crate) stamp: Timestamps,
    due: Instant,
    /// A label of its route was written since it was enqueued.
    raced: bool,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobSubject {
    /// Deletes the route with this guid.
    Route(String),
    /// Deletes every unmapped route of the space with this guid.
    UnmappedRoutes(String),
}

/// The progress of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobState {
    /// Not yet done.
    Processing,
    /// Done.
    Complete,
    /// Failed. Nothing was changed.
    Failed(JobFailure),
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobFailure {
    /// CC's 290006, with this detail.
    TimedOut(String),
    /// CC's 10001. A row of a label refers to the route, so that its row cannot be deleted: the
    /// foreign key stands only in CC's own log.
    ForeignKey,
}

/// The settings of the job worker, changed by levers.
#[derive(Clone, Debug)]
pub(crate) struct JobSettings {
    pub(crate) delay: Duration,
    pub(crate) paused: bool,
    /// This many of the next jobs to finish end as FAILED, with this detail.
    pub(crate) failing: (u64, String),
    pub(crate) label_race: LabelRace,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            delay: DEFAULT_DELAY,
            paused: false,
            failing: (0, String::new()),
            label_race: LabelRace::default(),
        }
    }
}

impl JobSubject {
    /// Returns the name of the operation in CC's answers.
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
            raced: false,
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
                job.state = self.finish(job);
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

    /// A label is written to a route. Decides who loses against its delete jobs.
    pub(super) fn race_with_deletes(&mut self, route: &str) {
        let race = self.job_settings.label_race;
        let is_meant = |job: &&mut Job| {
            job.state == JobState::Processing
                && matches!(&job.subject, JobSubject::Route(guid) if guid == route)
        };
        let mut jobs = std::mem::take(&mut self.jobs);
        for job in jobs.iter_mut().filter(is_meant) {
            match (race.job, race.label) {
                (JobFate::Fails, _) => job.raced = true,
                (JobFate::Completes, LabelAnswer::Written) => {}
                // The job was quicker.
                (JobFate::Completes, LabelAnswer::UnknownError | LabelAnswer::NotFound) => {
                    job.state = self.finish(job);
                    self.touch(&mut job.stamp);
                }
            }
        }
        self.jobs = jobs;
    }

    fn finish(&mut self, job: &Job) -> JobState {
        let (left, detail) = &mut self.job_settings.failing;
        if *left > 0 {
            *left -= 1;
            return JobState::Failed(JobFailure::TimedOut(detail.clone()));
        }
        match &job.subject {
            JobSubject::Route(guid) => {
                if job.raced && self.route(guid).is_some() {
                    return JobState::Failed(JobFailure::ForeignKey);
                }
                self.routes.retain(|route| route.guid != *guid);
            }
            JobSubject::UnmappedRoutes(space) => {
                self.routes.retain(|route| route.space != *space || !route.targets.is_empty());
            }
        }
        JobState::Complete
    }
}
