//! Tests of the API without sockets: what a client sees.

mod cli;
mod jobs;
mod lists;
mod refusals;
mod routes;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request};
use serde_json::Value;
use tower::ServiceExt;

use crate::capi::router;
use crate::token::{CfTokenSpec, CfTokens};
use crate::world::{CfWorld, TECHNICAL_USER};

const BASE: &str = "http://api.sandbox.test";
const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const OTHER: &str = "1db51335-e4a1-4571-bce8-a76dcc969a6b";
const SHARED: &str = "d75a8564-c07c-440a-b0d1-81fbd15d4c85";
const PRIVATE: &str = "02416df0-5a47-4d2b-86e7-39e08dd839fd";
const ORG: &str = "e69eb72f-5f9a-448e-8e8f-757a9c1fa0b8";
const APP: &str = "15edce6b-4931-4777-93b7-97fbc99e40b9";

/// A world, its API, and the token of the technical user.
#[derive(Clone)]
struct TestApi {
    world: Arc<CfWorld>,
    tokens: Arc<CfTokens>,
    router: Router,
    bearer: String,
}

/// An answer.
#[derive(Debug, Default)]
struct TestAnswer {
    status: u16,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl TestApi {
    fn new() -> Self {
        let tokens = Arc::new(CfTokens::new("http://uaa.sandbox.test".to_owned()));
        let login = "http://uaa.sandbox.test".to_owned();
        let world = CfWorld::seeded(BASE.to_owned(), login, Arc::clone(&tokens));
        let world = Arc::new(world);
        let api = Self { router: router(Arc::clone(&world)), world, tokens, bearer: String::new() };
        api.acting_as(TECHNICAL_USER)
    }

    /// Returns the same API with the token of another user.
    fn acting_as(&self, user: &str) -> Self {
        let spec = CfTokenSpec {
            user_name: user.to_owned(),
            user_guid: format!("guid-of-{user}"),
            ..CfTokenSpec::default()
        };
        let bearer = format!("bearer {}", self.tokens.mint(&spec));
        Self { bearer, ..self.clone() }
    }

    async fn get(&self, path: &str) -> TestAnswer {
        self.send(Method::GET, path, "").await
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> TestAnswer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", &self.bearer)
            .header("content-type", "application/json");
        self.raw(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn raw(&self, request: Request<Body>) -> TestAnswer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        TestAnswer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// Creates a route in `dev` on the shared domain. `more` is text for additional members of the
    /// body.
    async fn create(&self, host: &str, more: &str) -> TestAnswer {
        self.create_at(host, DEV, SHARED, more).await
    }

    async fn create_at(&self, host: &str, space: &str, domain: &str, more: &str) -> TestAnswer {
        let body = format!(
            r#"{{"host":"{host}",{more}"relationships":{{"space":{{"data":{{"guid":"{space}"}}}},"domain":{{"data":{{"guid":"{domain}"}}}}}}}}"#
        );
        self.send(Method::POST, "/v3/routes", &body).await
    }

    /// Creates a route, checks that it was created, and returns its guid.
    async fn created(&self, host: &str) -> String {
        let answer = self.create(host, "").await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["guid"].as_str().unwrap().to_owned()
    }
}

impl TestAnswer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns status, code and detail of the first error.
    fn refusal(&self) -> (u16, u64, &str) {
        let error = &self.json["errors"][0];
        let detail = error["detail"].as_str().unwrap_or_default();
        (self.status, error["code"].as_u64().unwrap_or_default(), detail)
    }

    fn hosts(&self) -> Vec<&str> {
        let routes = self.json["resources"].as_array().unwrap();
        routes.iter().map(|route| route["host"].as_str().unwrap()).collect()
    }
}
