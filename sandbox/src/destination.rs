//! The Destination service: finds a destination by name, as strictly as the real one. Invariant: it
//! answers only to a service token of XSUAA that was issued for this service. Mounted by `lib`;
//! levers edit the store.

mod find_options;
mod store;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::destination::find_options::FindOptions;
pub(crate) use crate::destination::store::{
    DEFAULT_NAME, DestinationLevel, EtagScope, OriginSpelling, Store, StoredDestination,
};
use crate::oauth::json_answer;
use crate::xsuaa::{DESTINATION_XSAPPNAME, Xsuaa};

/// The subaccount of the landscape, as `owner` names it.
pub(crate) const SUBACCOUNT: &str = "9acf4877-5a3d-43d2-b67d-7516efe15b11";

/// The service instance that owns instance-level destinations.
const INSTANCE: &str = "5f2a7c10-4711-4d4d-9a9a-0d35714a10e5";

/// The state of the service.
#[derive(Debug)]
pub(crate) struct Destinations {
    pub(crate) store: Store,
    xsuaa: Arc<Xsuaa>,
}

/// Why a request gets no destination.
#[derive(Debug)]
enum DestinationRefusal {
    NoToken,
    BadToken,
    /// A token of XSUAA for something else.
    OtherToken,
    /// A query parameter that is not in the specification, or one that was sent twice.
    Parameter(String),
    Level,
    Absent,
}

impl DestinationRefusal {
    /// Returns the answer. See `docs/reference/destination.md`.
    fn answer(&self) -> Response<Body> {
        match self {
            Self::NoToken => {
                text_answer(StatusCode::UNAUTHORIZED, "Authorization header is missing")
            }
            Self::BadToken => error_answer(
                StatusCode::UNAUTHORIZED,
                "Unable to parse the JWT in Authorization Header.",
            ),
            Self::OtherToken => {
                text_answer(StatusCode::FORBIDDEN, "The token is not for this service")
            }
            Self::Parameter(name) => {
                let text = format!("Invalid query parameter: {name}");
                error_answer(StatusCode::BAD_REQUEST, &text)
            }
            Self::Level => error_answer(StatusCode::BAD_REQUEST, "The level is missing or unknown"),
            Self::Absent => error_answer(
                StatusCode::NOT_FOUND,
                "Configuration with the specified name was not found",
            ),
        }
    }
}

impl Destinations {
    pub(crate) fn new(uaa_base: &str, api_base: &str, xsuaa: Arc<Xsuaa>) -> Self {
        Self { store: Store::seeded(uaa_base, api_base), xsuaa }
    }

    /// Refuses a request without a valid service token.
    fn admit(&self, headers: &HeaderMap) -> Result<(), DestinationRefusal> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let Some(token) = token else {
            return Err(DestinationRefusal::NoToken);
        };
        let Some(claims) = self.xsuaa.live_claims(token) else {
            return Err(DestinationRefusal::BadToken);
        };
        let names = |claim: &str| claims.get(claim).and_then(Value::as_array).cloned();
        let audience = names("aud").unwrap_or_default();
        if !audience.iter().any(|name| name == DESTINATION_XSAPPNAME) {
            return Err(DestinationRefusal::OtherToken);
        }
        Ok(())
    }

    /// Answers `v1/destinations/{name}`: instance level first, then subaccount.
    fn find(
        &self,
        name: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, DestinationRefusal> {
        self.admit(headers)?;
        let options = FindOptions::read(query, &["$skipTokenRetrieval", "$skipCredentials"])?;
        let found = self.store.find(name).ok_or(DestinationRefusal::Absent)?;
        let owner = match found.level {
            DestinationLevel::Instance => json!({"SubaccountId": null, "InstanceId": INSTANCE}),
            DestinationLevel::Subaccount => json!({"SubaccountId": SUBACCOUNT, "InstanceId": null}),
        };
        let etag = self.store.etag(&found);
        let mut body = json!({"owner": owner, "destinationConfiguration": found.properties});
        options.apply(&mut body);
        Ok(with_etag(&body, &etag, headers))
    }

    /// Answers `v2/destinations/{name}@{level}`: only this level, and the owner only on request.
    fn find_at(
        &self,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, DestinationRefusal> {
        self.admit(headers)?;
        let known = ["$skipTokenRetrieval", "$skipCredentials", "$includeMetadata"];
        let options = FindOptions::read(query, &known)?;
        let Some((name, level)) = path.rsplit_once('@') else {
            return Err(DestinationRefusal::Level);
        };
        let (level, owner) = match level {
            "subaccount" | "provider_subaccount" => {
                (DestinationLevel::Subaccount, json!({"SubaccountId": SUBACCOUNT}))
            }
            "instance" | "provider_instance" => {
                (DestinationLevel::Instance, json!({"InstanceId": INSTANCE}))
            }
            _ => return Err(DestinationRefusal::Level),
        };
        let found = self.store.find_at(name, level).ok_or(DestinationRefusal::Absent)?;
        let etag = self.store.etag(&found);
        let mut properties = Value::Object(found.properties);
        if options.wants_owner
            && let Some(members) = properties.as_object_mut()
        {
            members.insert("$metadata".to_owned(), json!({"owner": owner}));
        }
        let mut body = json!({"destinationConfiguration": properties});
        options.apply(&mut body);
        Ok(with_etag(&body, &etag, headers))
    }
}

/// Mounts the service.
pub(crate) fn router(destinations: Arc<Destinations>) -> Router {
    Router::new()
        .route("/destination-configuration/v1/destinations/{name}", get(find))
        .route("/destination-configuration/v2/destinations/{name}", get(find_at))
        .with_state(destinations)
}

async fn find(
    State(destinations): State<Arc<Destinations>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    destinations.find(&name, query.as_deref(), &headers).unwrap_or_else(|refused| refused.answer())
}

async fn find_at(
    State(destinations): State<Arc<Destinations>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    destinations
        .find_at(&path, query.as_deref(), &headers)
        .unwrap_or_else(|refused| refused.answer())
}

/// Compares `If-None-Match` unchanged: the tags of this service have no quotes.
fn with_etag(body: &Value, etag: &str, headers: &HeaderMap) -> Response<Body> {
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == etag);
    let mut answer = if known {
        let mut empty = Response::new(Body::empty());
        *empty.status_mut() = StatusCode::NOT_MODIFIED;
        empty
    } else {
        json_answer(StatusCode::OK, body)
    };
    if let Ok(etag) = HeaderValue::from_str(etag) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    answer
}

fn error_answer(status: StatusCode, text: &str) -> Response<Body> {
    json_answer(status, &json!({"ErrorMessage": text}))
}

fn text_answer(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=UTF-8"));
    answer
}
