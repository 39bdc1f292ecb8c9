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
struct ProblemList {
    resources: Vec<ProblemBody>,
}

/// A code with all that is fixed for it.
#[derive(Debug, Serialize)]
struct ProblemBody {
    r#type: String,
    code: &'static str,
    title: &'static str,
    status: u16,
    retryable: bool,
    meaning: &'static str,
    causes: &'static [&'static str],
    checks: &'static [&'static str],
    again: &'static str,
    cf_error: CfErrorBody,
}

#[derive(Debug, Serialize)]
struct CfErrorBody {
    code: u32,
    title: &'static str,
}

/// Lists all codes, in the order of the reference.
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
