//! `GET /problems` and `GET /problems/{type}`: what the codes mean, without authentication.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::VARY};
use serde::Serialize;

use crate::{
    http::{code::ProblemCode, page::answer_page, problem::Problem, viewer::wants_html},
    pages::{PageScript, PageSection, ProblemListPage, ProblemPage, Site},
};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ProblemGuideList))]
struct ProblemList {
    /// All codes, in the order of the reference.
    resources: Vec<ProblemBody>,
}

/// A code with all that is fixed for it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ProblemGuide))]
struct ProblemBody {
    /// The `type` of its problems, a path.
    r#type: String,
    /// The stable word.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::problem_codes))]
    code: &'static str,
    /// Title of its problems.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// What it means.
    meaning: &'static str,
    /// Usual causes.
    causes: &'static [&'static str],
    /// What to check.
    checks: &'static [&'static str],
    /// Whether to repeat the request.
    again: &'static str,
    /// How CF would name it.
    cf_error: CfErrorBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = CfErrorName))]
struct CfErrorBody {
    /// CF's number.
    code: u32,
    /// CF's name.
    title: &'static str,
}

/// Lists all codes, in the order of the reference.
#[cfg_attr(test, utoipa::path(
    get, path = "/problems", operation_id = "list_problems", tag = "problems",
    summary = "All codes of problems, with what to do",
    responses((status = 200, description = "All codes; a page for a browser", body = ProblemList)),
    security(())
))]
pub(crate) async fn list(State(site): State<Site>, headers: HeaderMap) -> Response {
    let all = ProblemCode::ALL.iter().copied();
    if wants_html(&headers) {
        let frame = site.frame(PageSection::Problems, PageScript::Local);
        let problems = all.map(ProblemCode::summary).collect();
        return answer_page(StatusCode::OK, &ProblemListPage { frame, problems });
    }
    document(ProblemList { resources: all.map(ProblemBody::from).collect() })
}

/// Explains one code. `kind` is the end of the `type` of its problems.
///
/// # Errors
/// `not_found` for another word.
#[cfg_attr(test, utoipa::path(
    get, path = "/problems/{kind}", operation_id = "read_problem", tag = "problems",
    summary = "What a code means, and what to do",
    params(("kind" = String, Path, description = "The code, with hyphens: the end of the `type` of its problems", pattern = "^[a-z0-9-]{1,64}$", example = "not-found")),
    responses((status = 200, description = "The code; a page for a browser", body = ProblemBody)),
    security(())
))]
pub(crate) async fn read(
    State(site): State<Site>,
    Path(kind): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = format!("/problems/{kind}");
    let mut all = ProblemCode::ALL.iter().copied();
    let code = all.find(|code| code.summary().path() == wanted).ok_or_else(Problem::not_found)?;
    if wants_html(&headers) {
        let frame = site.frame(PageSection::Other, PageScript::None);
        let page = ProblemPage { frame, problem: code.summary(), occurrence: None, card: None };
        return Ok(answer_page(StatusCode::OK, &page));
    }
    Ok(document(ProblemBody::from(code)))
}

/// Answers clients that are no browsers.
fn document(body: impl Serialize) -> Response {
    ([(VARY, HeaderValue::from_static("Accept"))], Json(body)).into_response()
}

impl From<ProblemCode> for ProblemBody {
    fn from(code: ProblemCode) -> Self {
        let (summary, cf) = (code.summary(), code.cf_error());
        Self {
            r#type: summary.path(),
            code: summary.code,
            title: summary.title,
            status: summary.status,
            retryable: summary.retryable,
            meaning: summary.guide.meaning,
            causes: summary.guide.causes,
            checks: summary.guide.checks,
            again: summary.guide.again,
            cf_error: CfErrorBody { code: cf.code, title: cf.title },
        }
    }
}
