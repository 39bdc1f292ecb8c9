//! What a destination is read from while the broker runs, as the cache sees it: the Destination
//! service or a file. A trait, so that tests need no sockets. Used by `renewal` and its sources.

use super::{
    fault::FindFault,
    model::{DestinationName, SourceKind},
};
use crate::binding::Fields;
use http::HeaderValue;
use std::time::Duration;

/// Reads destinations.
pub(super) trait DestinationSource: Send + Sync + 'static {
    /// Age from which content is revalidated on demand.
    const SOFT_TTL: Duration;

    /// Names the source where a destination is missing.
    const NAME: &'static str;

    /// Reads the destination once, retries included. `tag` makes the call conditional.
    fn find(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
    ) -> impl Future<Output = Result<FindResponse, FindFault>> + Send;
}

/// The answer of the service.
#[derive(Debug)]
pub(super) enum FindResponse {
    /// 200.
    Content(Content),
    /// 304.
    Unchanged,
    /// 404 from the service itself.
    Absent,
}

/// Properties that are not validated yet.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) fields: Fields,
    pub(super) source: SourceKind,
    /// Entity tag as received.
    pub(super) tag: Option<HeaderValue>,
    /// Differs between different contents.
    pub(super) digest: u64,
}
