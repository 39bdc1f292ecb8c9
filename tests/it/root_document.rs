//! The root document, and links that name the CF API by another host.

use cfapi_sandbox::PROVIDER_CLIENT;
use http::Method;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::support::{TestBroker, answer, client, pull, sandbox};

#[tokio::test]
async fn the_root_document_has_every_link_of_cf_and_names_the_broker_only() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let root = broker.send(Method::GET, "/", None, None).await;
    let links = root.json()["links"].as_object().unwrap().clone();
    let mut leading: Vec<_> = links.iter().filter(|(_, link)| !link.is_null()).collect();
    leading.sort_by_key(|(name, _)| *name);
    let names: Vec<_> = leading.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["cloud_controller_v3", "self"]);
    for (_, link) in leading {
        assert!(link["href"].as_str().unwrap().starts_with(&broker.base), "{link}");
    }
    let all = client().get(format!("{}/", sandbox.cf_url()));
    let of_cf = answer(all).await.json()["links"].as_object().unwrap().clone();
    for name in of_cf.keys() {
        assert!(links.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_browser_at_the_root_is_redirected_to_the_spaces() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let page = client().get(&broker.base).header("accept", "text/html,*/*;q=0.8");
    let sent = answer(page).await;
    let spaces = format!("{}/spaces", broker.base);
    assert_eq!((sent.status, sent.headers["location"].to_str().unwrap()), (303, &*spaces));
}

/// The destination has one host name of the CF API, the Cloud Controller builds its links with
/// another.
#[tokio::test]
async fn links_with_cfs_own_name_are_rewritten_too() {
    let sandbox = sandbox().await;
    let api = sandbox.cf_url();
    let alias = api.replace("127.0.0.1", "localhost");
    assert_ne!(alias, api);
    pull(&sandbox, "edit_destination", &json!({"name": "CFAPI", "set": {"URL": alias}}));
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.caller_token(PROVIDER_CLIENT, &["Api.Proxy"]);
    let started = Instant::now();
    loop {
        let page = broker.get("/v3/apps", &token).await;
        assert_eq!(page.status, 200, "{}", page.text);
        if !page.text.contains(&api) {
            let first = &page.json()["pagination"]["first"]["href"];
            assert!(first.as_str().is_some_and(|href| href.starts_with(&broker.base)), "{first}");
            break;
        }
        // The broker reads CF's own name after the first successful call.
        assert!(started.elapsed() < Duration::from_secs(10), "{}", page.text);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_head_has_the_content_length_of_its_get_or_none() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.caller_token(PROVIDER_CLIENT, &["Api.Proxy"]);
    let length = |headers: &http::HeaderMap| {
        headers.get("content-length").map(|value| value.to_str().unwrap().to_owned())
    };
    for (path, told) in [("/v3/apps", false), ("/v3/apps/none/routes", true)] {
        let get = broker.get(path, &token).await;
        let head = broker.send(Method::HEAD, path, Some(&token), None).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        let expected = told.then(|| get.text.len().to_string());
        assert_eq!(length(&head.headers), expected, "{path}: {:?}", head.headers);
    }
}
