use super::{DestinationClient, FindResponse};
use crate::{
    binding::SecretForm,
    destination::{
        DestinationName, SourceKind,
        fault::{AskedSystem, FindFault, Transient, advice},
        service_token::ServiceToken,
        settings::DestinationLevel,
        source::{Content, DestinationSource},
    },
    oauth::{ClientAuthentication, TokenEndpoint},
    telemetry::metrics::Metrics,
    upstream::{
        self, ClientFactory, ConnectFault, Purpose, TransportError,
        gate::Gate,
        raw_server::{RawServer, Reply},
    },
};
use http::{HeaderMap, HeaderValue};
use rstest::rstest;
use std::{hash::RandomState, time::Duration};
use tokio::time::{advance, sleep};
use tokio_util::task::TaskTracker;
use url::Url;

const TAG: &str = "f4a9916c00000000000000000000000000000000000000000000000000017beb";
const ABSENT: &str = r#"{"ErrorMessage":"Configuration with the specified name was not found"}"#;

/// A Destination service and its XSUAA, each with its list of answers.
struct Landscape {
    xsuaa: RawServer,
    service: RawServer,
    client: DestinationClient,
}

impl Landscape {
    async fn start(tokens: Vec<Reply>, finds: Vec<Reply>) -> Self {
        Self::at_level(None, tokens, finds).await
    }

    async fn at_level(
        level: Option<DestinationLevel>,
        tokens: Vec<Reply>,
        finds: Vec<Reply>,
    ) -> Self {
        let xsuaa = RawServer::answering(tokens).await;
        let service = RawServer::answering(finds).await;
        let metrics = Metrics::default();
        let clients = ClientFactory::new(&upstream::Settings::default()).unwrap();
        let http = clients.client(Purpose::Destination).unwrap();
        let authentication = ClientAuthentication::Body {
            id: "sb-clone1!b2|destination!b404".to_owned(),
            secret: "a+b=c$".into(),
        };
        let token_url = Url::parse(&xsuaa.url("/oauth/token")).unwrap();
        let endpoint =
            TokenEndpoint::new(http.clone(), token_url, authentication, HeaderMap::new());
        let client = DestinationClient {
            http,
            service: Url::parse(&service.url("")).unwrap(),
            level,
            token: ServiceToken::new(
                endpoint,
                Gate::new("xsuaa", 8, metrics.clone()),
                TaskTracker::new(),
                metrics.clone(),
            ),
            gate: Gate::new("destination", 8, metrics.clone()),
            metrics,
            digest: RandomState::new(),
        };
        Self { xsuaa, service, client }
    }

    async fn find(&self) -> Result<FindResponse, FindFault> {
        self.find_named("CFAPI", None).await
    }

    async fn find_named(&self, name: &str, tag: Option<&str>) -> Result<FindResponse, FindFault> {
        let name = DestinationName::parse(name).unwrap();
        let tag = tag.map(|tag| HeaderValue::from_str(tag).unwrap());
        self.client.find(&name, tag.as_ref()).await
    }
}

fn token(name: &str) -> Reply {
    let body = format!(
        r#"{{"access_token":"{name}","token_type":"bearer","expires_in":43199,"scope":"x","jti":"y"}}"#
    );
    Reply::json("200 OK", &body)
}

fn destination() -> Reply {
    found(r#"{"Name":"CFAPI","User":"u","Password":"p"}"#)
}

fn found(configuration: &str) -> Reply {
    let body = format!(
        r#"{{"owner":{{"SubaccountId":"9acf4877","InstanceId":null}},"destinationConfiguration":{configuration}}}"#
    );
    let headers = format!("Content-Type: application/json\r\nETag: {TAG}\r\n");
    Reply::with_headers("200 OK", &headers, body.as_bytes())
}

fn content(outcome: Result<FindResponse, FindFault>) -> Content {
    match outcome {
        Ok(FindResponse::Content(content)) => content,
        other => panic!("{other:?}"),
    }
}

/// The value of a header of a raw request.
fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let lines = request.lines().skip(1).take_while(|line| !line.is_empty());
    let mut pairs = lines.filter_map(|line| line.split_once(": "));
    pairs.find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[tokio::test(start_paused = true)]
async fn credentials_are_sent_in_the_body_and_the_find_skips_token_retrieval() {
    let landscape = Landscape::start(vec![token("t1")], vec![destination()]).await;
    let content = content(landscape.find().await);
    assert_eq!(content.fields.text("User"), Some("u"));
    assert_eq!(content.source, SourceKind::SubaccountLevel);
    assert_eq!(content.tag.unwrap(), TAG);

    let call = &landscape.xsuaa.seen()[0];
    assert!(call.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{call}");
    assert_eq!(header(call, "content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header(call, "accept"), Some("application/json"));
    assert_eq!(header(call, "authorization"), None);
    let (_, body) = call.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=sb-clone1%21b2%7Cdestination%21b404&client_secret=a%2Bb%3Dc%24"
    );

    let call = &landscape.service.seen()[0];
    let line = "GET /destination-configuration/v1/destinations/CFAPI?$skipTokenRetrieval=true HTTP/1.1\r\n";
    assert!(call.starts_with(line), "{call}");
    assert!(header(call, "authorization").unwrap().eq_ignore_ascii_case("bearer t1"));
    assert_eq!(header(call, "accept"), Some("application/json"));
    assert_eq!(header(call, "if-none-match"), None);
    assert!(header(call, "x-correlationid").is_some());
}

#[rstest]
#[case("a b/c?x=1#f", "a%20b%2Fc%3Fx%3D1%23f")]
#[case("100%", "100%25")]
#[case("Zürich", "Z%C3%BCrich")]
#[case("a.b-c_d~e", "a.b-c_d~e")]
#[case("...", "...")]
#[tokio::test(start_paused = true)]
async fn the_name_is_one_segment(#[case] name: &str, #[case] segment: &str) {
    let landscape = Landscape::start(vec![token("t")], vec![destination()]).await;
    landscape.find_named(name, None).await.unwrap();
    let line = format!(
        "GET /destination-configuration/v1/destinations/{segment}?$skipTokenRetrieval=true HTTP/1.1\r\n"
    );
    assert!(landscape.service.seen()[0].starts_with(&line));
}

#[tokio::test(start_paused = true)]
async fn the_subaccount_level_uses_v2() {
    let level = Some(DestinationLevel::Subaccount);
    let landscape = Landscape::at_level(level, vec![token("t")], vec![destination()]).await;
    landscape.find_named("a/b", None).await.unwrap();
    let line = "GET /destination-configuration/v2/destinations/a%2Fb@subaccount?$skipTokenRetrieval=true HTTP/1.1\r\n";
    assert!(landscape.service.seen()[0].starts_with(line), "{:?}", landscape.service.seen());
}

#[rstest]
#[case(TAG)]
#[case("\"quoted\"")]
#[case("W/\"weak\"")]
#[tokio::test(start_paused = true)]
async fn the_tag_is_sent_back_byte_for_byte_and_304_is_unchanged(#[case] tag: &str) {
    let unchanged = Reply::with_headers("304 Not Modified", &format!("ETag: {tag}\r\n"), b"");
    let landscape = Landscape::start(vec![token("t")], vec![unchanged]).await;
    let outcome = landscape.find_named("CFAPI", Some(tag)).await;
    assert!(matches!(outcome, Ok(FindResponse::Unchanged)));
    assert_eq!(header(&landscape.service.seen()[0], "if-none-match"), Some(tag));
}

#[tokio::test(start_paused = true)]
async fn a_304_without_a_tag_sent_is_a_fault() {
    let landscape =
        Landscape::start(vec![token("t")], vec![Reply::with_headers("304 Not Modified", "", b"")])
            .await;
    assert!(landscape.find().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn one_token_serves_many_finds() {
    let landscape = Landscape::start(vec![token("t")], vec![destination(), destination()]).await;
    landscape.find().await.unwrap();
    landscape.find().await.unwrap();
    assert_eq!((landscape.xsuaa.seen().len(), landscape.service.seen().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_ageing_token_is_used_while_its_successor_is_fetched() {
    let short = r#"{"access_token":"t1","token_type":"bearer","expires_in":"60"}"#;
    let landscape = Landscape::start(
        vec![Reply::json("200 OK", short), token("t2")],
        vec![destination(), destination(), destination()],
    )
    .await;
    landscape.find().await.unwrap();
    advance(Duration::from_secs(25)).await;
    landscape.find().await.unwrap();
    while landscape.xsuaa.seen().len() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(10)).await;
    landscape.find().await.unwrap();
    let finds = landscape.service.seen();
    let sent = finds.iter().map(|call| header(call, "authorization").unwrap());
    let sent: Vec<_> = sent.filter_map(|value| value.split(' ').nth(1)).collect();
    assert_eq!(sent, ["t1", "t1", "t2"]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_finds_share_one_token() {
    let landscape =
        Landscape::start(vec![token("t"), token("other")], vec![destination(), destination()])
            .await;
    let (one, other) =
        tokio::join!(landscape.find_named("one", None), landscape.find_named("other", None));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!((landscape.xsuaa.seen().len(), landscape.service.seen().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn callers_that_waited_for_a_refused_token_share_the_refusal() {
    let refused = || Reply::json("401 Unauthorized", r#"{"error":"invalid_client"}"#);
    let landscape = Landscape::start(vec![refused(), refused()], vec![]).await;
    let (one, other) =
        tokio::join!(landscape.find_named("one", None), landscape.find_named("other", None));
    assert!(one.is_err() && other.is_err());
    assert_eq!(landscape.xsuaa.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_is_given_up() {
    let landscape = Landscape::start(vec![token("t")], vec![Reply::Silence; 4]).await;
    let Err(FindFault::Transient { kind, asked, .. }) = landscape.find().await else {
        panic!("found")
    };
    assert_eq!((kind, asked), (Transient::NoAnswer, AskedSystem::DestinationService));
}

#[tokio::test(start_paused = true)]
async fn a_silent_xsuaa_is_named() {
    let landscape = Landscape::start(vec![Reply::Silence; 4], vec![destination()]).await;
    let Err(FindFault::Transient { kind, asked, .. }) = landscape.find().await else {
        panic!("found")
    };
    assert_eq!((kind, asked), (Transient::NoAnswer, AskedSystem::Xsuaa));
    assert!(advice(kind, asked).starts_with("XSUAA"), "{}", advice(kind, asked));
}

#[rstest]
#[case::certificate(ConnectFault::TlsCertificate, Transient::Certificate, "upstream.extra_ca_file")]
#[case::name(ConnectFault::Dns, Transient::Name, "no address")]
#[case::refused(ConnectFault::Refused, Transient::Connect, "cannot be reached")]
fn a_connection_that_cannot_be_made_says_why(
    #[case] fault: ConnectFault,
    #[case] expected: Transient,
    #[case] word: &str,
    #[values(AskedSystem::DestinationService, AskedSystem::Xsuaa)] system: AskedSystem,
) {
    let error = TransportError::Connect { kind: fault, source: None };
    let FindFault::Transient { kind, asked, .. } = FindFault::transport(&error, system) else {
        panic!("refused");
    };
    assert_eq!((kind, asked), (expected, system));
    assert!(advice(kind, asked).contains(word), "{}", advice(kind, asked));
}

#[tokio::test(start_paused = true)]
async fn a_401_evicts_the_token_and_is_repeated_once() {
    let refused = Reply::json("401 Unauthorized", r#"{"ErrorMessage":"x"}"#);
    let landscape =
        Landscape::start(vec![token("t1"), token("t2")], vec![refused, destination()]).await;
    landscape.find().await.unwrap();
    let finds = landscape.service.seen();
    let sent: Vec<_> = finds.iter().map(|call| header(call, "authorization").unwrap()).collect();
    assert!(sent[0].ends_with(" t1") && sent[1].ends_with(" t2"), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_401_is_final() {
    let refused = || Reply::json("401 Unauthorized", "");
    let landscape =
        Landscape::start(vec![token("t1"), token("t2")], vec![refused(), refused()]).await;
    let outcome = landscape.find().await;
    assert!(matches!(outcome, Err(FindFault::Refused(text)) if text.contains("new binding")));
    assert_eq!((landscape.xsuaa.seen().len(), landscape.service.seen().len()), (2, 2));
}

#[rstest]
#[case("400 Bad Request", r#"{"ErrorMessage":"x"}"#)]
#[case("403 Forbidden", "no")]
#[case("412 Precondition Failed", "")]
#[case("422 Unprocessable Entity", "no")]
#[tokio::test(start_paused = true)]
async fn a_definite_answer_is_not_repeated(#[case] status: &str, #[case] body: &str) {
    let answer = Reply::with_headers(status, "", body.as_bytes());
    let landscape = Landscape::start(vec![token("t")], vec![answer, destination()]).await;
    assert!(matches!(landscape.find().await, Err(FindFault::Refused(_))));
    assert_eq!(landscape.service.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_404_of_the_service_means_absent() {
    let absent = Reply::json("404 Not Found", ABSENT);
    let landscape = Landscape::start(vec![token("t")], vec![absent]).await;
    assert!(matches!(landscape.find().await, Ok(FindResponse::Absent)));
}

#[rstest]
#[case::router("404 Not Found", "<html>unknown route</html>", Transient::Unreadable)]
#[case::json_of_others("404 Not Found", "{}", Transient::Unreadable)]
#[case::redirect("302 Found", "", Transient::Unreadable)]
#[case::method("405 Method Not Allowed", "", Transient::Unreadable)]
#[case::page("403 Forbidden", "<html>", Transient::Unreadable)]
#[case::bad_page("400 Bad Request", "\n<html>", Transient::Unreadable)]
#[case::truncated("200 OK", r#"{"destinationConfiguration":{"Name""#, Transient::Unreadable)]
#[case::no_json("200 OK", "<html>", Transient::Unreadable)]
#[case::no_destination("200 OK", "{}", Transient::Unreadable)]
#[case::time_out("408 Request Timeout", "", Transient::NoAnswer)]
#[case::gateway("502 Bad Gateway", "<html>", Transient::NoAnswer)]
#[case::gateway_time_out("504 Gateway Timeout", "", Transient::NoAnswer)]
#[case::internal("500 Internal Server Error", "x", Transient::Server)]
#[case::overloaded("503 Service Unavailable", "x", Transient::Server)]
#[tokio::test(start_paused = true)]
async fn a_transient_fault_is_retried_three_times(
    #[case] status: &str,
    #[case] body: &str,
    #[case] expected: Transient,
) {
    let answers = vec![Reply::with_headers(status, "", body.as_bytes()); 4];
    let landscape = Landscape::start(vec![token("t")], answers).await;
    let Err(FindFault::Transient { kind, .. }) = landscape.find().await else {
        panic!("found");
    };
    assert_eq!((kind, landscape.service.seen().len()), (expected, 4));
}

#[tokio::test(start_paused = true)]
async fn one_bad_answer_is_retried() {
    let overloaded = Reply::with_headers("503 Service Unavailable", "", b"");
    let landscape = Landscape::start(
        vec![Reply::with_headers("500 Internal Server Error", "", b"<html>"), token("t")],
        vec![overloaded, destination()],
    )
    .await;
    landscape.find().await.unwrap();
    assert_eq!((landscape.xsuaa.seen().len(), landscape.service.seen().len()), (2, 2));
}

#[rstest]
#[case(
    "404 Not Found",
    "X-Cf-RouterError: unknown_route\r\n",
    "404 Not Found: Requested route does not exist."
)]
#[case("302 Found", "Location: /login\r\n", "")]
#[case("405 Method Not Allowed", "", "")]
#[case("403 Forbidden", "", "<html>")]
#[case("401 Unauthorized", "", "<html>")]
#[tokio::test(start_paused = true)]
async fn an_answer_in_front_of_xsuaa_is_no_refusal_of_the_binding(
    #[case] status: &str,
    #[case] headers: &str,
    #[case] body: &str,
) {
    let other = Reply::with_headers(status, headers, body.as_bytes());
    let landscape = Landscape::start(vec![other, token("t")], vec![destination()]).await;
    landscape.find().await.unwrap();
    assert_eq!((landscape.xsuaa.seen().len(), landscape.service.seen().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_429_of_xsuaa_in_html_is_retried_after_its_pause() {
    let limited = Reply::with_headers(
        "429 Too Many Requests",
        "Content-Type: text/html\r\nRetry-After: 7\r\n",
        b"<html>slow down</html>",
    );
    let landscape = Landscape::start(vec![limited, token("t")], vec![destination()]).await;
    let began = tokio::time::Instant::now();
    landscape.find().await.unwrap();
    assert!(began.elapsed().as_secs() >= 7);
}

#[rstest]
#[case("401 Unauthorized", r#"{"error":"invalid_client","error_description":"Bad credentials"}"#)]
#[case("403 Forbidden", r#"{"error":"access_denied"}"#)]
#[tokio::test(start_paused = true)]
async fn a_refused_binding_is_tried_once_and_no_find_is_sent(
    #[case] status: &str,
    #[case] body: &str,
) {
    let refused = Reply::with_headers(status, "", body.as_bytes());
    let landscape = Landscape::start(vec![refused, token("t")], vec![destination()]).await;
    assert!(matches!(landscape.find().await, Err(FindFault::Refused(_))));
    assert_eq!((landscape.xsuaa.seen().len(), landscape.service.seen().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_over_the_size_limit_is_a_fault() {
    let huge = vec![b' '; super::CAP + 1];
    let answers = vec![Reply::with_headers("200 OK", "", &huge); 4];
    let landscape = Landscape::start(vec![token("t")], answers).await;
    let Err(FindFault::Transient { kind: Transient::Unreadable, .. }) = landscape.find().await
    else {
        panic!("found");
    };
}

#[tokio::test(start_paused = true)]
async fn an_instance_level_destination_is_recognised() {
    let body = r#"{"owner":{"SubaccountId":null,"InstanceId":"i"},"destinationConfiguration":{"Name":"CFAPI"}}"#;
    let landscape = Landscape::start(vec![token("t")], vec![Reply::json("200 OK", body)]).await;
    assert_eq!(content(landscape.find().await).source, SourceKind::InstanceLevel);
}

#[rstest]
#[case(r#"{"Name":"CFAPI"}"#, r#"[{"Name":"k.p12","Content":"eA==","Type":"CERTIFICATE"}]"#, true)]
#[case(r#"{"Name":"CFAPI"}"#, r#"[{"Name":"k.p12","Content":"eA==","type":"CERTIFICATE"}]"#, true)]
#[case(r#"{"Name":"CFAPI","TrustStoreLocation":"t.jks"}"#, r#"[{"Name":"t.jks"}]"#, false)]
#[case(r#"{"Name":"CFAPI"}"#, "[]", false)]
#[tokio::test(start_paused = true)]
async fn a_key_store_in_the_answer_is_noticed(
    #[case] configuration: &str,
    #[case] certificates: &str,
    #[case] expected: bool,
) {
    let body =
        format!(r#"{{"destinationConfiguration":{configuration},"certificates":{certificates}}}"#);
    let landscape = Landscape::start(vec![token("t")], vec![Reply::json("200 OK", &body)]).await;
    let content = content(landscape.find().await);
    assert_eq!(content.fields.has("tokenService.KeyStoreLocation"), expected);
}

#[tokio::test(start_paused = true)]
async fn values_of_other_types_are_left_out() {
    let configuration =
        r#"{"Name":"CFAPI","Password":12345,"clientSecret":"","x":{"y":[]},"HTML5.a":"b"}"#;
    let landscape = Landscape::start(vec![token("t")], vec![found(configuration)]).await;
    let fields = content(landscape.find().await).fields;
    assert!(!fields.has("Password") && !fields.has("x") && fields.has("HTML5.a"));
    assert_eq!(fields.sealed("clientSecret").unwrap().form, SecretForm::Empty);
}

#[tokio::test(start_paused = true)]
async fn different_contents_have_different_digests() {
    let other = found(r#"{"Name":"CFAPI","User":"u","Password":"q"}"#);
    let landscape =
        Landscape::start(vec![token("t")], vec![destination(), destination(), other]).await;
    let first = content(landscape.find().await).digest;
    assert_eq!(first, content(landscape.find().await).digest);
    assert_ne!(first, content(landscape.find().await).digest);
}
