use super::{
    CachePolicy, Destination, DestinationDependencies, DestinationError, DestinationName,
    DestinationSetupError, Destinations, DestinationsConfig, Settings, SourceKind,
    test_credential::TestCredential,
};
use crate::{
    binding::{self, BindingSources, Bindings, SourceText},
    oauth::FingerprintKey,
    telemetry::metrics::Metrics,
    upstream::{
        self, ClientFactory,
        raw_server::{RawServer, Reply},
    },
};
use rstest::rstest;
use std::{fs, path::PathBuf, time::Duration};
use tokio::time::advance;
use tokio_util::task::TaskTracker;

/// Everything a destination needs but its name and the user, which identifies the source.
const COMMON: &str = r#""Type":"HTTP","URL":"https://api.cf.example.com","Authentication":"OAuth2Password","clientId":"cf","Password":"p","tokenServiceURL":"https://login.cf.example.com/oauth/token?login_hint=%7B%22origin%22:%22acme-platform%22%7D""#;

/// The environment of a test; with everything set it has the destination four times.
#[derive(Default)]
struct Environment {
    file: Option<PathBuf>,
    variable: Option<String>,
    vcap: String,
    application: Option<String>,
    settings: Settings,
}

impl Environment {
    fn open(&self) -> Result<Destinations, DestinationSetupError> {
        let sources = BindingSources {
            vcap_services: Some(SourceText::from(format!("{{{}}}", self.vcap))),
            vcap_application: self.application.clone(),
            ..BindingSources::default()
        };
        let bindings = Bindings::read(&sources).unwrap();
        let settings = Settings { file: self.file.clone(), ..self.settings.clone() };
        let config = DestinationsConfig {
            settings: &settings,
            bindings: &bindings,
            service: bindings.destination(&binding::Settings::default()).unwrap(),
            variable: self.variable.clone().map(SourceText::from),
        };
        let deps = DestinationDependencies {
            clients: ClientFactory::new(&upstream::Settings::default()).unwrap(),
            key: FingerprintKey::random(),
            tasks: TaskTracker::new(),
            metrics: Metrics::default(),
        };
        Destinations::new(&config, &deps)
    }
}

fn item(user: &str) -> String {
    format!(r#"{{"Name":"CFAPI","User":"{user}",{COMMON}}}"#)
}

fn user_provided() -> String {
    format!(
        r#""user-provided":[{{"name":"CFAPI","label":"user-provided","credentials":{}}}]"#,
        item("provided")
    )
}

fn service(xsuaa: &RawServer, service: &RawServer) -> String {
    let (url, uri) = (xsuaa.url(""), service.url(""));
    format!(
        r#""destination":[{{"name":"dest","credentials":{{"clientid":"c","clientsecret":"s","url":"{url}","uri":"{uri}"}}}}]"#
    )
}

fn cfapi() -> DestinationName {
    DestinationName::parse("CFAPI").unwrap()
}

async fn found(destinations: &Destinations) -> (SourceKind, String) {
    let destination = destinations.find(&cfapi(), CachePolicy::Cached).await.unwrap();
    (destination.source, destination.credentials.user.clone())
}

#[tokio::test(start_paused = true)]
async fn the_first_source_that_holds_the_name_wins() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("destination.json");
    fs::write(&file, item("file")).unwrap();
    let token = r#"{"access_token":"t","token_type":"bearer","expires_in":43199}"#;
    let xsuaa = RawServer::answering([Reply::json("200 OK", token)]).await;
    let answer = format!(r#"{{"destinationConfiguration":{}}}"#, item("service"));
    let server = RawServer::answering([Reply::json("200 OK", &answer)]).await;
    let mut environment = Environment {
        file: Some(file.clone()),
        variable: Some(format!("[{}]", item("variable"))),
        vcap: format!("{},{}", user_provided(), service(&xsuaa, &server)),
        ..Environment::default()
    };
    assert_eq!(found(&environment.open().unwrap()).await, (SourceKind::File, "file".to_owned()));
    fs::write(&file, r#"{"Name":"other"}"#).unwrap();
    assert_eq!(
        found(&environment.open().unwrap()).await,
        (SourceKind::Variable, "variable".to_owned())
    );
    environment.variable = Some("[]".to_owned());
    assert_eq!(
        found(&environment.open().unwrap()).await,
        (SourceKind::UserProvided, "provided".to_owned())
    );
    assert!(server.seen().is_empty() && xsuaa.seen().is_empty());
    environment.vcap = service(&xsuaa, &server);
    let expected = (SourceKind::SubaccountLevel, "service".to_owned());
    assert_eq!(found(&environment.open().unwrap()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn on_cloud_foundry_files_and_variables_do_not_count() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), item("file")).unwrap();
    let environment = Environment {
        file: Some(file.path().to_owned()),
        variable: Some(format!("[{}]", item("variable"))),
        vcap: user_provided(),
        application: Some(r#"{"cf_api":"https://api.cf.example.com"}"#.to_owned()),
        ..Environment::default()
    };
    assert_eq!(found(&environment.open().unwrap()).await.0, SourceKind::UserProvided);
}

#[tokio::test(start_paused = true)]
async fn without_any_source_it_starts_and_lists_what_was_tried() {
    let destinations = Environment::default().open().unwrap();
    let error = destinations.find(&cfapi(), CachePolicy::Cached).await.unwrap_err();
    let DestinationError::Missing { name, tried } = error else { panic!("{error:?}") };
    assert_eq!(name, "CFAPI");
    for source in ["destination.file", "destinations", "user-provided", "Destination service"] {
        assert!(tried.contains(source), "{tried}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_an_invalid_local_destination_it_starts_and_says_why() {
    let environment = Environment {
        variable: Some(format!("[{}]", item("u").replace(r#""Password":"p","#, ""))),
        ..Environment::default()
    };
    let destinations = environment.open().unwrap();
    let error = destinations.find(&cfapi(), CachePolicy::PastCache).await.unwrap_err();
    assert_eq!(error.to_string(), "destination CFAPI is invalid: Password is missing");
    assert!(!error.is_transient() && destinations.known(&cfapi()).is_none());
}

#[rstest]
#[case::number("12345678", "a number")]
#[case::list("[\"p\"]", "a list")]
#[case::object("{\"p\":1}", "an object")]
#[tokio::test(start_paused = true)]
async fn a_password_that_is_no_text_is_named_without_its_value(
    #[case] value: &str,
    #[case] kind: &str,
) {
    let password = format!(r#""Password":{value},"#);
    let item = item("u").replace(r#""Password":"p","#, &password);
    let environment = Environment { variable: Some(format!("[{item}]")), ..Environment::default() };
    let destinations = environment.open().unwrap();
    let error = destinations.find(&cfapi(), CachePolicy::PastCache).await.unwrap_err();
    let expected = format!(
        "destination CFAPI is invalid: Password is {kind} and not a text: write it in quotes"
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_foundation_pins_a_user_provided_destination_too() {
    let environment = Environment {
        vcap: user_provided(),
        application: Some(r#"{"cf_api":"https://api.cf.other.example"}"#.to_owned()),
        ..Environment::default()
    };
    let error = environment.open().unwrap().find(&cfapi(), CachePolicy::Cached).await.unwrap_err();
    let DestinationError::Invalid { findings, .. } = error else { panic!("{error:?}") };
    assert_eq!(findings.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_name_has_its_own_source_and_no_other_name_exists() {
    let environment = Environment {
        variable: Some(format!("[{}]", item("first").replace("CFAPI", "second"))),
        vcap: user_provided(),
        settings: Settings { names: vec!["second".to_owned()], ..Settings::default() },
        ..Environment::default()
    };
    let destinations = environment.open().unwrap();
    let sources = destinations.names().iter().map(|name| destinations.known(name).unwrap().source);
    assert_eq!(sources.collect::<Vec<_>>(), [SourceKind::UserProvided, SourceKind::Variable]);
    let third = DestinationName::parse("third").unwrap();
    let error = destinations.find(&third, CachePolicy::Cached).await.unwrap_err();
    assert!(matches!(error, DestinationError::Missing { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_in_use_after_a_second_and_a_broken_one_changes_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), item("one")).unwrap();
    let environment = Environment { file: Some(file.path().to_owned()), ..Environment::default() };
    let destinations = environment.open().unwrap();
    let confirmed = async || destinations.find(&cfapi(), CachePolicy::Confirmed).await;
    let user = |found: &Destination| found.credentials.user.clone();
    assert_eq!(user(&confirmed().await.unwrap()), "one");
    fs::write(file.path(), item("two")).unwrap();
    assert_eq!(user(&confirmed().await.unwrap()), "one");
    let read_past_cache = destinations.find(&cfapi(), CachePolicy::PastCache).await;
    assert_eq!(user(&read_past_cache.unwrap()), "two");
    fs::write(file.path(), item("three")).unwrap();
    advance(Duration::from_millis(1001)).await;
    assert_eq!(user(&confirmed().await.unwrap()), "three");
    // Perhaps only half of it is written.
    fs::write(file.path(), "{\"Name\":\"canary").unwrap();
    advance(Duration::from_millis(1001)).await;
    assert_eq!(user(&confirmed().await.unwrap()), "three");
    fs::write(file.path(), "{\"Name\":\"CFAPI\"}").unwrap();
    advance(Duration::from_millis(1001)).await;
    let error = confirmed().await.unwrap_err();
    assert!(matches!(error, DestinationError::Invalid { .. }), "{error:?}");
    assert_eq!(user(&destinations.known(&cfapi()).unwrap()), "three");
    fs::remove_file(file.path()).unwrap();
    assert!(destinations.find(&cfapi(), CachePolicy::PastCache).await.is_err());
    assert_eq!(destinations.source(&cfapi()), Some(SourceKind::File));
}

#[test]
fn a_missing_file_ends_the_start() {
    let environment =
        Environment { file: Some(PathBuf::from("no/such.properties")), ..Environment::default() };
    let error = environment.open().unwrap_err();
    assert!(matches!(error, DestinationSetupError::FileUnreadable { .. }));
    assert!(error.hint().contains("destination.file"));
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start() {
    let credentials = r#""clientid":"c","credential-type":"x509","certificate":"no PEM","key":"no PEM","url":"https://x.example","uri":"https://d.example","certurl":"https://x.cert.example""#;
    let environment = Environment {
        vcap: format!(r#""destination":[{{"name":"dest","credentials":{{{credentials}}}}}]"#),
        ..Environment::default()
    };
    let error = environment.open().unwrap_err();
    assert!(matches!(&error, DestinationSetupError::Identity { binding, .. } if binding == "dest"));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_host_in_the_service_s_answer_is_refused_and_no_debug_shows_its_password() {
    let token = r#"{"access_token":"t","token_type":"bearer","expires_in":43199}"#;
    let xsuaa = RawServer::answering([Reply::json("200 OK", token)]).await;
    let configuration = item("u").replace(r#""p""#, r#""canary""#);
    let answer = format!(r#"{{"destinationConfiguration":{configuration}}}"#);
    let server = RawServer::answering([Reply::json("200 OK", &answer)]).await;
    let environment = Environment {
        vcap: service(&xsuaa, &server),
        application: Some(r#"{"cf_api":"https://api.cf.other.example"}"#.to_owned()),
        ..Environment::default()
    };
    let destinations = environment.open().unwrap();
    let error = destinations.find(&cfapi(), CachePolicy::Confirmed).await.unwrap_err();
    assert!(matches!(error, DestinationError::Invalid { .. }));
    assert!(!format!("{destinations:?} {error:?} {error}").contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_sent_to_its_own_address_without_a_secret_for_each_key_encoding() {
    let credential = TestCredential::generate();
    for key in [&credential.pkcs1, &credential.pkcs8] {
        let token = r#"{"access_token":"t","token_type":"bearer","expires_in":43199}"#;
        let certificate_host = RawServer::answering([Reply::json("200 OK", token)]).await;
        let answer = format!(r#"{{"destinationConfiguration":{}}}"#, item("service"));
        let server = RawServer::answering([Reply::json("200 OK", &answer)]).await;
        let text = |pem: &str| pem.replace('\n', "\\n");
        let credentials = format!(
            r#""clientid":"sb-1","credential-type":"x509","certificate":"{}","key":"{}","url":"https://x.example","uri":"{}","certurl":"{}""#,
            text(&credential.chain),
            text(key),
            server.url(""),
            certificate_host.url("")
        );
        let environment = Environment {
            vcap: format!(r#""destination":[{{"name":"dest","credentials":{{{credentials}}}}}]"#),
            ..Environment::default()
        };
        found(&environment.open().unwrap()).await;
        let call = certificate_host.seen().remove(0);
        assert!(call.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{call}");
        assert!(call.ends_with("\r\n\r\ngrant_type=client_credentials&client_id=sb-1"), "{call}");
    }
}
