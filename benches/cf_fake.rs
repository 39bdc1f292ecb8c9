//! A CF API that costs almost nothing: every GET returns a page of about 3 KB with links to itself.
//!
//! `cf_fake <port>` (0: a free one) prints its base URL and answers until it is killed. One thread.
//! Run by `benches/client.sh` and `benches/proxy.sh`. Without a port it only shows that it works.

use std::{convert::Infallible, env, io::Write, net::Ipv4Addr};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::LocalSet};

/// Two spaces with their links are about 3 KB. The published figures were measured with such a
/// page.
const SPACES: usize = 2;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Cargo adds its own flags. With flags only, the program ends at once.
    let port = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    runtime.block_on(LocalSet::new().run_until(async move {
        let port_or_any = port.as_deref().map_or(Ok(0), str::parse)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port_or_any)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let page = Bytes::from(page(&base));
        let mut out = std::io::stdout();
        writeln!(out, "{base}")?;
        out.flush()?;
        if port.is_some() {
            serve(listener, page).await?;
        }
        Ok(())
    }))
}

async fn serve(listener: TcpListener, page: Bytes) -> Outcome<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let page = page.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let answer = answer(page.clone());
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(None);
        tokio::task::spawn_local(builder.serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(page: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(page));
    let headers = answer.headers_mut();
    let json = http::HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(CONTENT_TYPE, json);
    // What CF sends in addition (recorded names).
    for (name, value) in [
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-download-options", "noopen"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-permitted-cross-domain-policies", "none"),
        (
            "x-vcap-request-id",
            "7d3a4e7c-4c36-4cf9-6d54-9ff7d1a2a3b8::1f0a6a36-4d0e-4b9e-8a72-3f4b7a1f3d55",
        ),
        ("x-xss-protection", "1; mode=block"),
        ("x-ratelimit-limit", "20000"),
        ("x-ratelimit-remaining", "19998"),
        ("x-ratelimit-reset", "1795600000"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload;"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    answer
}

/// A page of `GET /v3/spaces`.
fn page(base: &str) -> String {
    let spaces: Vec<_> = (0..SPACES).map(|index| space(base, index)).collect();
    let first = format!("{base}/v3/spaces?page=1&per_page=50");
    serde_json::json!({
        "pagination": {"total_results": SPACES, "total_pages": 1, "first": {"href": first},
            "last": {"href": first}, "next": null, "previous": null},
        "resources": spaces,
    })
    .to_string()
}

fn space(base: &str, index: usize) -> serde_json::Value {
    let guid = format!("4d57c4e2-8f1d-4b4e-9a3e-0000000000{index:02}");
    let own = format!("{base}/v3/spaces/{guid}");
    let organization = "9f2b1c84-6d0a-4a2f-8f65-3c7d2b1e9a40";
    serde_json::json!({
        "guid": guid, "created_at": "2026-03-04T08:15:42Z", "updated_at": "2026-03-04T08:15:42Z",
        "name": format!("space-{index}"), "suspended": false,
        "relationships": {"organization": {"data": {"guid": organization}}, "quota": {"data": null}},
        "metadata": {"labels": {"team": "bookshop", "cost-center": "4711"},
            "annotations": {"contact": "bookshop@example.test", "purpose": "tenants of the bookshop, see the handbook"}},
        "links": {
            "self": {"href": own}, "organization": {"href": format!("{base}/v3/organizations/{organization}")},
            "features": {"href": format!("{own}/features")},
            "apply_manifest": {"href": format!("{own}/actions/apply_manifest"), "method": "POST"},
            "apps": {"href": format!("{base}/v3/apps?space_guids={guid}")},
            "routes": {"href": format!("{base}/v3/routes?space_guids={guid}")},
            "quota": {"href": format!("{base}/v3/space_quotas?space_guids={guid}")},
        },
    })
}
