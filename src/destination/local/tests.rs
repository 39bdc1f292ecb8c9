use super::{DestinationFile, from_variable, parse_file};
use crate::{
    binding::{SecretForm, SourceText},
    destination::{
        DestinationName, DestinationSetupError,
        source::{DestinationSource, FindResponse},
    },
};
use rstest::rstest;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

const EXPORT: &str = r"#Password=<< Existing password/certificate removed on export >>
#
#Thu Jun 16 12:17:12 UTC 2022
Description=CF API
Type=HTTP
clientId=cf
Authentication=OAuth2Password
Name=CFAPI
tokenServiceURL=https\://login.cf.eu10.hana.ondemand.com/oauth/token?login_hint\=%7B%22origin%22\:%22acme-platform%22%7D
ProxyType=Internet
URL=https\://api.cf.eu10.hana.ondemand.com
User=tech+cfapi@example.com
";

fn name(text: &str) -> DestinationName {
    DestinationName::parse(text).unwrap()
}

#[test]
fn a_cockpit_export_is_read_and_its_password_is_known_to_be_removed() {
    let fields = parse_file(EXPORT.as_bytes(), &name("CFAPI")).unwrap().unwrap();
    assert_eq!(
        fields.text("tokenServiceURL"),
        Some(
            "https://login.cf.eu10.hana.ondemand.com/oauth/token?login_hint=%7B%22origin%22:%22acme-platform%22%7D"
        )
    );
    assert_eq!(fields.sealed("Password").unwrap().form, SecretForm::ExportMark);
}

#[test]
fn a_password_added_by_hand_is_used() {
    let text = format!("{EXPORT}Password=s3cret\n");
    let fields = parse_file(text.as_bytes(), &name("CFAPI")).unwrap().unwrap();
    assert_eq!(fields.sealed("Password").unwrap().form, SecretForm::Usable);
}

#[rstest]
#[case::object(r#"{"Name":"CFAPI","URL":"u"}"#)]
#[case::wrapped(
    r#"{"owner":{"SubaccountId":"s"},"destinationConfiguration":{"Name":"CFAPI","URL":"u"}}"#
)]
#[case::array(r#"[{"Name":"other","URL":"x"},{"Name":"CFAPI","URL":"u"}]"#)]
#[case::with_mark_and_blanks("\u{feff} \n{\"Name\":\"CFAPI\",\"URL\":\"u\"}")]
#[case::properties("Name=CFAPI\nURL=u\n")]
#[case::sdk_without_more(r#"{"name":"CFAPI","url":"u"}"#)]
#[case::address_alone(r#"{"url":"u"}"#)]
fn each_file_format_is_read(#[case] text: &str) {
    let fields = parse_file(text.as_bytes(), &name("CFAPI")).unwrap().unwrap();
    assert_eq!(fields.text("URL"), Some("u"));
}

#[rstest]
#[case(r#"{"Name":"other","URL":"u"}"#)]
#[case(r#"[{"Name":"other"}]"#)]
#[case("[]")]
#[case("Name=other\n")]
fn a_file_with_other_destinations_has_no_match(#[case] text: &str) {
    assert!(parse_file(text.as_bytes(), &name("CFAPI")).unwrap().is_none());
}

#[rstest]
#[case("{\"Name\":\"canary\"")]
#[case("[1")]
#[case("Name=canary\nName=canary\n")]
fn a_malformed_file_is_an_error_that_does_not_quote(#[case] text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let error = DestinationFile::new(file.path()).read(&name("CFAPI")).unwrap_err();
    assert!(matches!(error, DestinationSetupError::FileMalformed { .. }));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn a_missing_file_is_an_error() {
    let path = tempfile::tempdir().unwrap().path().join("gone.properties");
    let error = DestinationFile::new(&path).read(&name("CFAPI")).unwrap_err();
    assert!(matches!(error, DestinationSetupError::FileUnreadable { .. }));
}

const WHOLE: &str = "Name=CFAPI\nUser=u\nPassword=secret-canary\n";

fn file_of(text: &str) -> (tempfile::NamedTempFile, DestinationFile) {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), text).unwrap();
    let file = DestinationFile::new(path.path());
    drop(file.read(&name("CFAPI")));
    (path, file)
}

/// The user that a find returns.
async fn user(file: &DestinationFile) -> Option<String> {
    match file.find(&name("CFAPI"), None).await {
        Ok(FindResponse::Content(content)) => content.fields.text("User").map(ToOwned::to_owned),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_saved_in_pieces_is_read_when_it_is_whole() {
    let (path, file) = file_of(WHOLE);
    let half = "Name=CFAPI\nUser=other\nPassword=sec";
    std::fs::write(path.path(), half).unwrap();
    let finding = {
        let file = file.clone();
        TaskTracker::new().spawn(async move { file.find(&name("CFAPI"), None).await })
    };
    sleep(Duration::from_millis(500)).await;
    std::fs::write(path.path(), format!("{half}ret\nURL=u\n")).unwrap();
    let Ok(FindResponse::Content(content)) = finding.await.unwrap() else {
        panic!("nothing found");
    };
    assert_eq!(content.fields.text("URL"), Some("u"));
    // What is in use is read without a wait.
    let before = Instant::now();
    assert_eq!(user(&file).await.as_deref(), Some("other"));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_all_the_time_is_not_used() {
    let (path, file) = file_of(WHOLE);
    let finding = {
        let file = file.clone();
        TaskTracker::new().spawn(async move { user(&file).await })
    };
    for number in 0..20 {
        std::fs::write(path.path(), format!("Name=CFAPI\nUser={number}\n")).unwrap();
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(finding.await.unwrap(), None);
}

#[tokio::test]
async fn a_pipe_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.properties");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let error = DestinationFile::new(&path).read(&name("CFAPI")).unwrap_err();
    assert!(matches!(error, DestinationSetupError::FileUnreadable { .. }));
}

#[rstest]
#[case::sdk(
    r#"[{"name":"CFAPI","url":"https://a.example","username":"u","password":"p","authentication":"OAuth2Password",
        "proxyType":"Internet","type":"HTTP","tokenServiceUrl":"https://t.example","clientId":"cf","clientSecret":"",
        "isTrustingAllCertificates":true}]"#
)]
#[case::cockpit(
    r#"[{"Name":"CFAPI","URL":"https://a.example","User":"u","Password":"p","Authentication":"OAuth2Password",
        "ProxyType":"Internet","Type":"HTTP","tokenServiceURL":"https://t.example","clientId":"cf","clientSecret":"",
        "TrustAll":"true"}]"#
)]
#[case::cockpit_by_name(
    r#"[{"name":"CFAPI","URL":"https://a.example","User":"u","Password":"p","Authentication":"OAuth2Password",
        "ProxyType":"Internet","Type":"HTTP","tokenServiceURL":"https://t.example","clientId":"cf","clientSecret":"",
        "TrustAll":true}]"#
)]
fn the_variable_is_read_in_both_spellings(#[case] text: &str) {
    let text = SourceText::from(text.to_owned());
    let fields = from_variable(&text, &name("CFAPI")).unwrap().unwrap();
    for (property, expected) in [
        ("URL", "https://a.example"),
        ("User", "u"),
        ("Authentication", "OAuth2Password"),
        ("ProxyType", "Internet"),
        ("Type", "HTTP"),
        ("tokenServiceURL", "https://t.example"),
        ("clientId", "cf"),
        ("TrustAll", "true"),
    ] {
        assert_eq!(fields.text(property), Some(expected), "{property}");
    }
    assert_eq!(fields.sealed("Password").unwrap().form, SecretForm::Usable);
    assert_eq!(fields.sealed("clientSecret").unwrap().form, SecretForm::Empty);
}

#[test]
fn the_first_of_two_with_one_name_wins() {
    let text = r#"[{"name":"CFAPI","url":"first"},{"name":"CFAPI","url":"second"}]"#;
    let fields = from_variable(&SourceText::from(text.to_owned()), &name("CFAPI")).unwrap();
    assert_eq!(fields.unwrap().text("URL"), Some("first"));
}

#[rstest]
#[case("5")]
#[case("\"canary\"")]
#[case("[{")]
#[case("{}")]
#[case(r#"{"VCAP_SERVICES":{"xsuaa":[]}}"#)]
fn a_variable_without_any_destination_is_an_error(#[case] text: &str) {
    let error = from_variable(&SourceText::from(text.to_owned()), &name("CFAPI")).unwrap_err();
    assert!(matches!(error, DestinationSetupError::VariableMalformed(_)));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

const SDK: &str = r#"{"name":"CFAPI","url":"https://a.example","username":"u","password":"p9","authentication":"OAuth2Password",
    "clientId":"cf","tokenServiceUrl":"https://t.example"}"#;

#[rstest]
#[case::one_object("SDK")]
#[case::list("[SDK]")]
#[case::answer(r#"{"destinationConfiguration":SDK}"#)]
#[case::init_data(
    r#"{"HTML5Runtime_enabled":"true","init_data":{"subaccount":{"existing_destinations_policy":"update","destinations":[SDK]}}}"#
)]
#[case::content_of_init_data(r#"{"instance":{"destinations":[SDK]}}"#)]
#[case::environment(r#"{"VCAP_SERVICES":{},"destinations":[SDK]}"#)]
#[case::environment_with_one(r#"{"destinations":SDK}"#)]
#[case::byte_order_mark("\u{feff}[SDK]")]
fn each_json_is_read_in_the_spelling_of_the_sdk(#[case] text: &str) {
    let text = text.replace("SDK", SDK);
    let of_variable = from_variable(&SourceText::from(text.clone()), &name("CFAPI")).unwrap();
    let of_file = parse_file(text.as_bytes(), &name("CFAPI")).unwrap();
    for fields in [of_variable.unwrap(), of_file.unwrap()] {
        assert_eq!((fields.text("Type"), fields.text("User")), (Some("HTTP"), Some("u")));
        assert_eq!(fields.text("tokenServiceURL"), Some("https://t.example"));
        assert_eq!(fields.sealed("Password").unwrap().form, SecretForm::Usable);
    }
    assert!(parse_file(text.as_bytes(), &name("other")).unwrap().is_none());
}

#[test]
fn a_list_as_text_is_read() {
    let text = format!(r#"{{"destinations":{:?}}}"#, r#"[{"name":"CFAPI","url":"u"}]"#);
    assert!(parse_file(text.as_bytes(), &name("CFAPI")).unwrap().is_some());
}

#[test]
fn the_instance_level_is_first() {
    let text = r#"{"init_data":{"subaccount":{"destinations":[{"Name":"CFAPI","URL":"subaccount"}]},
        "instance":{"destinations":[{"Name":"CFAPI","URL":"instance"}]}}}"#;
    let fields = parse_file(text.as_bytes(), &name("CFAPI")).unwrap().unwrap();
    assert_eq!(fields.text("URL"), Some("instance"));
}

#[test]
fn the_type_is_optional_in_the_spelling_of_the_sdk_only() {
    let text = r#"[{"Name":"CFAPI","URL":"u"}]"#;
    assert!(parse_file(text.as_bytes(), &name("CFAPI")).unwrap().unwrap().text("Type").is_none());
    let text = r#"[{"name":"CFAPI","url":"u","type":"MAIL"}]"#;
    let fields = parse_file(text.as_bytes(), &name("CFAPI")).unwrap().unwrap();
    assert_eq!(fields.text("Type"), Some("MAIL"));
}

#[test]
fn spellings_may_be_mixed_and_the_cockpit_wins() {
    let text = r#"{"Name":"CFAPI","URL":"u","username":"sdk","User":"cockpit","authentication":"x","name":"other"}"#;
    let fields = parse_file(text.as_bytes(), &name("CFAPI")).unwrap().unwrap();
    assert_eq!((fields.text("User"), fields.text("Authentication")), (Some("cockpit"), Some("x")));
}

#[rstest]
#[case::bindings(r#"{"VCAP_SERVICES":{"xsuaa":[]}}"#)]
#[case::app(r#"{"system_env_json":{"VCAP_SERVICES":{}},"application_env_json":{}}"#)]
#[case::nothing("{}")]
fn a_file_of_another_kind_is_named(#[case] text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let error = DestinationFile::new(file.path()).read(&name("CFAPI")).unwrap_err();
    assert!(error.to_string().contains("no destination is in it"), "{error}");
    assert!(error.hint().contains("default-env.json"));
}
