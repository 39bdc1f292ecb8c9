//! The page of the API: open to everybody, and it knows who looks.

use crate::support::{
    Answer, TestBroker, answer,
    browser::{Browser, started},
    client, sandbox,
};

/// Opens the page with this token.
async fn open(broker: &TestBroker, token: Option<&str>) -> Answer {
    let request = client().get(format!("{}/docs", broker.base)).header("accept", "text/html");
    answer(token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth)).await
}

#[tokio::test]
async fn the_page_is_for_everybody_and_runs_the_brokers_own_files_only() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let page = open(&broker, None).await;
    assert_eq!((page.status, &page.headers["vary"]), (200, &"Accept".parse().unwrap()));
    let expected = "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; \
                    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    assert_eq!(page.headers["content-security-policy"], expected);
    for text in ["<h1>API</h1>", "<code>/routes/{tenant}</code>", "/login?return=%2Fdocs", "Nobody"]
    {
        assert!(page.text.contains(text), "{text}");
    }
    // Nobody is told the version.
    assert!(page.text.contains("<footer><p>cfapi-broker</p></footer>"), "{}", page.text);
    for file in ["api-", "style-", "script-"] {
        let (_, rest) = page.text.split_once(&format!("/assets/{file}")).unwrap();
        let path = format!("/assets/{file}{}", rest.split('"').next().unwrap());
        assert_eq!(answer(client().get(format!("{}{path}", broker.base))).await.status, 200);
    }
}

#[tokio::test]
async fn a_program_gets_the_document() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let [docs, document] = ["/docs", "/openapi.json"].map(|path| format!("{}{path}", broker.base));
    let (docs, document) = (answer(client().get(docs)).await, answer(client().get(document)).await);
    assert_eq!((docs.status, &docs.headers["vary"]), (200, &"Accept".parse().unwrap()));
    assert_eq!(docs.json()["openapi"], "3.1.0");
    assert_eq!(docs.text, document.text);
}

#[tokio::test]
async fn a_person_with_a_login_is_named() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let page = browser.open(&format!("{}/docs", broker.base)).await;
    assert_eq!(page.status, 200);
    for text in ["developer@example.test", "You are logged in", "action=\"/logout\""] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
}

#[tokio::test]
async fn a_token_that_an_approuter_passes_on_names_the_person_and_a_bad_one_is_nobody() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let known = open(&broker, Some(&sandbox.developer_token())).await;
    assert_eq!(known.status, 200);
    assert!(known.text.contains("You are logged in"), "{}", known.text);
    assert!(!known.text.contains("action=\"/logout\""), "{}", known.text);
    let unknown = open(&broker, Some("no.token.at-all")).await;
    assert_eq!(unknown.status, 200);
    assert!(unknown.text.contains("Nobody is logged in"), "{}", unknown.text);
}
