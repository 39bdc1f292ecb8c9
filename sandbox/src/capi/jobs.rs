//! Jobs. Any authenticated user may read any job (recorded).

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::not_found;

impl CallContext<'_> {
    /// `GET /v3/jobs/{guid}`.
    pub(crate) fn job(&self, guid: &str) -> Reply {
        let job = self.state.job(guid).ok_or_else(|| not_found("Job"))?;
        Ok(Answer::ok(&self.present().job(job)))
    }
}
