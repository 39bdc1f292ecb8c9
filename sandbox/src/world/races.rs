//! Requests that meet at one route: a label and a running delete job, and two equal mappings. The
//! real Cloud Controller lets one of them fail (recorded). Invariant: without a request that runs
//! at the same moment nothing here has an effect. Called by `capi`; the levers set the outcome.

use tokio::time::Instant;

use crate::world::{CfWorld, JobFailure, JobState, WorldState};

/// What becomes of a label that is written to a route while a delete job of the route runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelRace {
    pub(crate) label: LabelAnswer,
    pub(crate) job: JobFate,
}

/// The answer to the label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LabelAnswer {
    /// 200.
    #[default]
    Written,
    /// 500 with code 10001. Nothing is written.
    UnknownError,
    /// 404.
    NotFound,
}

/// The end of the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum JobFate {
    /// FAILED with code 10001.
    #[default]
    Fails,
    /// COMPLETE.
    Completes,
}

/// What two equal mappings of one route at the same moment become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MapRace {
    /// Both succeed.
    #[default]
    BothSucceed,
    /// The second one is 500 with code 10001.
    OneFails,
}

impl CfWorld {
    /// Sets what becomes of a label that is written to a route while its delete job runs: the
    /// answer (200, 500 or 404), and whether the job fails. Without `job_fails` it fails after a
    /// 200 or 500. After a 404 it is always complete.
    ///
    /// # Errors
    /// Another status.
    pub fn label_race(&self, status: u64, job_fails: Option<bool>) -> Result<(), String> {
        let label = match status {
            200 => LabelAnswer::Written,
            500 => LabelAnswer::UnknownError,
            404 => LabelAnswer::NotFound,
            _ => return Err("`status` must be 200, 404 or 500".to_owned()),
        };
        let fails = label != LabelAnswer::NotFound && job_fails.unwrap_or(true);
        let job = if fails { JobFate::Fails } else { JobFate::Completes };
        self.with_state(|state| state.job_settings.label_race = LabelRace { label, job });
        Ok(())
    }

    /// Lets one of two equal mappings of a route fail that run at the same moment.
    pub fn map_race(&self, on: bool) {
        let race = if on { MapRace::OneFails } else { MapRace::BothSucceed };
        self.with_state(|state| state.map_race = race);
    }
}

impl WorldState {
    /// Writes a label to a route: returns the answer if a delete job of the route runs.
    pub(crate) fn label_written(&mut self, route: &str) -> LabelAnswer {
        if !self.is_deleting(route) {
            return LabelAnswer::Written;
        }
        self.race_with_deletes(route);
        self.job_settings.label_race.label
    }

    /// Tells whether a mapping was made by another request after this one had arrived.
    pub(crate) fn lost_map_race(&self, mapped: Instant, arrived: Option<Instant>) -> bool {
        self.map_race == MapRace::OneFails && arrived.is_some_and(|arrived| arrived < mapped)
    }
}

impl JobState {
    /// Returns code, title and detail of a failed job.
    pub(crate) fn error(&self) -> Option<(u64, &'static str, &str)> {
        match self {
            Self::Processing | Self::Complete => None,
            Self::Failed(JobFailure::TimedOut(detail)) => Some((290_006, "CF-JobTimeout", detail)),
            Self::Failed(JobFailure::ForeignKey) => {
                Some((10_001, "UnknownError", "An unknown error occurred."))
            }
        }
    }
}
