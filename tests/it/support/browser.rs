//! A browser: it keeps cookies, says what it navigates to, and follows no redirect by itself.

use std::{collections::BTreeMap, sync::Mutex};

use reqwest::RequestBuilder;

use cfapi_sandbox::Sandbox;

use super::{Answer, TestBroker, answer, client, sandbox};

/// The cookie of a person who has logged in.
pub(crate) const PAGE: &str = "__Host-cfb";

/// What a browser sends when a person opens a page.
pub(crate) const NAVIGATION: [(&str, &str); 2] =
    [("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("sec-fetch-mode", "navigate")];

/// One browser with its cookies, for all addresses of this machine.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) cookies: Mutex<BTreeMap<String, String>>,
}

impl Browser {
    /// Opens an address as a person does.
    pub(crate) async fn open(&self, url: &str) -> Answer {
        self.send(
            NAVIGATION
                .into_iter()
                .fold(client().get(url), |it, (name, value)| it.header(name, value)),
        )
        .await
    }

    /// Sends a request with the cookies and keeps those of the answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let pairs: Vec<_> = self
            .cookies
            .lock()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = match pairs.as_slice() {
            [] => request,
            pairs => request.header("cookie", pairs.join("; ")),
        };
        let got = answer(request).await;
        let mut cookies = self.cookies.lock().unwrap();
        for line in set_cookies(&got) {
            let (pair, attributes) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        drop(cookies);
        got
    }

    /// Opens `/spaces` without a session, and returns the address of XSUAA to which it is led.
    pub(crate) async fn begin(&self, broker: &TestBroker) -> String {
        let asked = self.open(&format!("{}/spaces", broker.base)).await;
        let login = location(&asked);
        assert_eq!(asked.status, 302, "{}", asked.text);
        let led = self.open(&login).await;
        assert_eq!(led.status, 302, "{}", led.text);
        location(&led)
    }

    /// Chooses a person at XSUAA, and returns the address to which the browser is led back.
    pub(crate) async fn choose(&self, xsuaa: &str, user: &str) -> String {
        let chosen = self.open(&format!("{xsuaa}&user={user}@example.test")).await;
        assert_eq!(chosen.status, 302, "{}", chosen.text);
        location(&chosen)
    }

    /// Logs a person in and returns the last answer.
    pub(crate) async fn log_in(&self, broker: &TestBroker, user: &str) -> Answer {
        let back = self.choose(&self.begin(broker).await, user).await;
        let done = self.open(&back).await;
        assert_eq!((done.status, location(&done)), (302, format!("{}/spaces", broker.base)));
        done
    }

    /// The `Cookie` header that it would send.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }
}

/// A landscape with a broker.
pub(crate) async fn started() -> (Sandbox, TestBroker) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    (sandbox, broker)
}

/// Where an answer leads.
pub(crate) fn location(answer: &Answer) -> String {
    answer.headers["location"].to_str().unwrap().to_owned()
}

/// All values of `Set-Cookie`.
pub(crate) fn set_cookies(answer: &Answer) -> Vec<String> {
    let lines = answer.headers.get_all("set-cookie").iter();
    lines.map(|line| line.to_str().unwrap().to_owned()).collect()
}
