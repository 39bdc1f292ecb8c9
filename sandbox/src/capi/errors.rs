//! The refusals of the Cloud Controller v3, verbatim. Each has one constructor. Titles and codes
//! are written only here.

use http::StatusCode;

use crate::capi::json::{Json, object};

/// A refusal: one entry of `errors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiRefusal {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    pub(crate) title: &'static str,
    pub(crate) code: u64,
}

impl ApiRefusal {
    /// Returns the body of the v3 API.
    pub(crate) fn body(&self) -> Json {
        let error = if self.code == 10_001 {
            // CC writes the unknown error in another code path, with another order of members
            // (recorded).
            object! {"title" => self.title, "detail" => &self.detail, "code" => self.code}
        } else {
            object! {"detail" => &self.detail, "title" => self.title, "code" => self.code}
        };
        object! {"errors" => vec![error]}
    }

    /// Returns the body of the v2 API and of other paths outside v3.
    pub(crate) fn old_body(&self) -> Json {
        object! {"description" => &self.detail, "error_code" => self.title, "code" => self.code}
    }
}

fn refusal(status: StatusCode, title: &'static str, code: u64, detail: &str) -> ApiRefusal {
    ApiRefusal { status, detail: detail.to_owned(), title, code }
}

/// No header, or another scheme than bearer.
pub(crate) fn not_authenticated() -> ApiRefusal {
    let status = StatusCode::UNAUTHORIZED;
    refusal(status, "CF-NotAuthenticated", 10_002, "Authentication error")
}

/// A bearer token that is not valid.
pub(crate) fn invalid_token() -> ApiRefusal {
    refusal(StatusCode::UNAUTHORIZED, "CF-InvalidAuthToken", 1000, "Invalid Auth Token")
}

/// The role or the scope is missing.
pub(crate) fn not_authorized() -> ApiRefusal {
    let detail = "You are not authorized to perform the requested action";
    refusal(StatusCode::FORBIDDEN, "CF-NotAuthorized", 10_003, detail)
}

/// Does not exist, or the user does not see it.
pub(crate) fn not_found(kind: &str) -> ApiRefusal {
    let detail = format!("{kind} not found");
    refusal(StatusCode::NOT_FOUND, "CF-ResourceNotFound", 10_010, &detail)
}

/// Unknown path or method. CC never answers 405.
pub(crate) fn unknown_request() -> ApiRefusal {
    refusal(StatusCode::NOT_FOUND, "CF-NotFound", 10_000, "Unknown request")
}

/// A body or a state that CC cannot process.
pub(crate) fn unprocessable(detail: &str) -> ApiRefusal {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    refusal(status, "CF-UnprocessableEntity", 10_008, detail)
}

/// A bad query of a list, or of a single resource.
pub(crate) fn bad_query(detail: &str) -> ApiRefusal {
    let detail = format!("The query parameter is invalid: {detail}");
    refusal(StatusCode::BAD_REQUEST, "CF-BadQueryParameter", 10_005, &detail)
}

/// A body that is not JSON.
pub(crate) fn parse_error() -> ApiRefusal {
    let detail = "Request invalid due to parse error: invalid request body";
    refusal(StatusCode::BAD_REQUEST, "CF-MessageParseError", 1001, detail)
}

pub(crate) fn org_suspended() -> ApiRefusal {
    let detail = "The organization is suspended";
    refusal(StatusCode::FORBIDDEN, "CF-OrgSuspended", 10_017, detail)
}

pub(crate) fn space_suspended() -> ApiRefusal {
    refusal(StatusCode::FORBIDDEN, "CF-SpaceSuspended", 10_019, "The space is suspended")
}

/// The space is being deleted (new in 2026, source).
pub(crate) fn space_being_deleted() -> ApiRefusal {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let detail = "The space is being deleted";
    refusal(status, "CF-ResourceBeingDeleted", 10_020, detail)
}

pub(crate) fn feature_disabled(text: &str) -> ApiRefusal {
    let detail = format!("Feature Disabled: {text}");
    refusal(StatusCode::FORBIDDEN, "CF-FeatureDisabled", 330_002, &detail)
}

/// More labels than a resource may have.
pub(crate) fn too_many_labels(sent: usize, most: usize) -> ApiRefusal {
    let detail = format!("Failed to add {sent} labels because it would exceed maximum of {most}");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    refusal(status, "CF-LabelLimitExceeded", 390_020, &detail)
}

/// More annotations than a resource may have.
pub(crate) fn too_many_annotations(sent: usize, most: usize) -> ApiRefusal {
    let detail =
        format!("Failed to add {sent} annotations because it would exceed maximum of {most}");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    refusal(status, "CF-AnnotationLimitExceeded", 390_023, &detail)
}

/// An error that CC does not handle: NUL in a guid, duplicate destinations in one array.
pub(crate) fn unknown_error() -> ApiRefusal {
    let detail = "An unknown error occurred.";
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "UnknownError", 10_001, detail)
}

/// CC does not reach its UAA.
pub(crate) fn uaa_unavailable() -> ApiRefusal {
    let detail = "The UAA service is currently unavailable";
    refusal(StatusCode::SERVICE_UNAVAILABLE, "CF-UaaUnavailable", 20_004, detail)
}

/// The user's rate limit is used up.
pub(crate) fn rate_limited() -> ApiRefusal {
    let status = StatusCode::TOO_MANY_REQUESTS;
    refusal(status, "CF-RateLimitExceeded", 10_013, "Rate Limit Exceeded")
}

/// The rate limit for requests without a good token is used up.
pub(crate) fn address_limited() -> ApiRefusal {
    let detail = "Rate Limit Exceeded: Unauthenticated requests from this IP address have exceeded the limit. Please log in.";
    let status = StatusCode::TOO_MANY_REQUESTS;
    refusal(status, "CF-IPBasedRateLimitExceeded", 10_014, detail)
}
