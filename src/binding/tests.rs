use super::{
    Application, BindingError, BindingSources, Bindings, Delivery, DestinationBinding,
    IdentityBinding, ServiceCredential, Settings, SourceText,
};
use rstest::rstest;
use std::{fs, path::Path};
use tempfile::TempDir;

const SECRET: &str = r#""clientid":"sb-clone1!b2|destination-xsappname!b404","clientsecret":"a+b=$","uri":"https://destination.example","url":"https://provider.authentication.example""#;
const PKCS1: &str = "-----BEGIN RSA PRIVATE KEY-----\\nAA==\\n-----END RSA PRIVATE KEY-----\\n";
const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\\nAA==\\n-----END PRIVATE KEY-----\\n";
const CHAIN: &str = "-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n";

/// How a set of bindings reaches the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Variable,
    File,
    Platform,
    Operator,
}

/// A directory with the delivered bindings, and the sources that point there.
struct Environment {
    sources: BindingSources,
    _directory: TempDir,
}

fn entry(name: &str, credentials: &str) -> String {
    format!(
        r#"{{"name":"{name}","instance_name":"{name}-instance","binding_name":null,"label":"destination","plan":"lite","tags":["destination","conn","connsvc"],"credentials":{{{credentials}}},"syslog_drain_url":null,"volume_mounts":[]}}"#
    )
}

fn vcap(entries: &[String]) -> String {
    format!(r#"{{"destination":[{}]}}"#, entries.join(","))
}

fn inline(text: &str) -> BindingSources {
    BindingSources {
        vcap_services: Some(SourceText::from(text.to_owned())),
        ..BindingSources::default()
    }
}

fn bindings(text: &str) -> Bindings {
    Bindings::read(&inline(text)).unwrap()
}

/// Returns the members of a flat JSON object of texts; each becomes a file.
fn members(credentials: &str) -> Vec<(String, String)> {
    let object: std::collections::BTreeMap<String, String> =
        crate::upstream::body::decode(format!("{{{credentials}}}").as_bytes()).unwrap();
    object.into_iter().collect()
}

fn deliver(layout: Layout, named: &[(&str, &str)]) -> Environment {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    let entries: Vec<String> =
        named.iter().map(|(name, credentials)| entry(name, credentials)).collect();
    let sources = match layout {
        Layout::Variable => inline(&vcap(&entries)),
        Layout::File => {
            let path = directory.path().join("vcap_services");
            fs::write(&path, vcap(&entries)).unwrap();
            BindingSources { vcap_services_file: Some(path), ..BindingSources::default() }
        }
        Layout::Platform | Layout::Operator => {
            for (name, credentials) in named {
                let directory = root.join(name);
                fs::create_dir(&directory).unwrap();
                write_directory(&directory, layout, credentials);
            }
            BindingSources { binding_root: Some(root), ..BindingSources::default() }
        }
    };
    Environment { sources, _directory: directory }
}

fn write_directory(directory: &Path, layout: Layout, credentials: &str) {
    let members = members(credentials);
    for (name, text) in &members {
        fs::write(directory.join(name), format!("{text}\n")).unwrap();
    }
    let envelope: &[(&str, &str)] = if layout == Layout::Platform {
        &[("type", "destination"), ("label", "destination"), ("provider", "destination")]
    } else {
        &[("type", "destination")]
    };
    for (name, text) in envelope {
        fs::write(directory.join(name), text).unwrap();
    }
    fs::write(directory.join("tags"), r#"["destination","conn"]"#).unwrap();
    if layout == Layout::Operator {
        let properties: Vec<String> = members
            .iter()
            .map(|(name, _)| format!(r#"{{"name":"{name}","format":"text"}}"#))
            .collect();
        let metadata = format!(
            r#"{{"metaDataProperties":[{{"name":"type","format":"text"}},{{"name":"tags","format":"json"}}],"credentialProperties":[{}]}}"#,
            properties.join(",")
        );
        fs::write(directory.join(".metadata"), metadata).unwrap();
    }
}

fn x509(key: &str) -> String {
    format!(
        r#""clientid":"sb-1","credential-type":"x509","uri":"https://destination.example","url":"https://p.authentication.example","certurl":"https://p.authentication.cert.example","certificate":"{CHAIN}"{key}"#
    )
}

fn only_destination(sources: &BindingSources) -> Result<Option<DestinationBinding>, BindingError> {
    Bindings::read(sources)?.destination(&Settings::default())
}

#[rstest]
fn every_delivery_yields_the_binding(
    #[values(Layout::Variable, Layout::File, Layout::Platform, Layout::Operator)] layout: Layout,
    #[values(None, Some(PKCS1), Some(PKCS8))] key: Option<&str>,
) {
    let credentials = key.map_or(SECRET.to_owned(), |key| x509(&format!(r#","key":"{key}""#)));
    let environment = deliver(layout, &[("dest", &credentials)]);
    let binding = only_destination(&environment.sources).unwrap().unwrap();
    assert_eq!(binding.name, "dest");
    assert_eq!(binding.service.as_str(), "https://destination.example/");
    match (key, binding.credential) {
        (None, ServiceCredential::Secret(_)) => {}
        (Some(_), ServiceCredential::Certificate { token_base, .. }) => {
            assert_eq!(token_base.host_str(), Some("p.authentication.cert.example"));
        }
        (key, credential) => panic!("{key:?} became {credential:?}"),
    }
}

#[rstest]
fn no_binding_is_none_and_two_are_an_error_with_their_names(
    #[values(Layout::Variable, Layout::File, Layout::Platform, Layout::Operator)] layout: Layout,
) {
    assert!(only_destination(&deliver(layout, &[]).sources).unwrap().is_none());
    let environment = deliver(layout, &[("one", SECRET), ("two", SECRET)]);
    let error = only_destination(&environment.sources).unwrap_err();
    let BindingError::Ambiguous { kind: "destination", found } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("one (") && found[1].starts_with("two ("));
    assert!(error.hint().contains("binding.destination"));
}

#[rstest]
fn an_unusable_credential_is_an_error_of_its_own(
    #[values(Layout::Variable, Layout::File, Layout::Platform, Layout::Operator)] layout: Layout,
) {
    let errors = [
        x509(""),
        SECRET.replace(r#""clientsecret":"a+b=$","#, r#""hide-secret":"true","#),
        x509("").replace("x509", "x509_attested"),
        SECRET.replace(r#""clientsecret":"a+b=$","#, ""),
    ]
    .map(|credentials| {
        let environment = deliver(layout, &[("dest", &credentials)]);
        only_destination(&environment.sources).unwrap_err()
    });
    let [no_key, hidden, attested, no_secret] = errors;
    assert!(matches!(
        no_key,
        BindingError::PartMissing { field: "key", setting: "binding.key_file", .. }
    ));
    assert!(matches!(hidden, BindingError::SecretHidden { .. }));
    assert!(matches!(attested, BindingError::Attested { .. }));
    assert!(
        matches!(no_secret, BindingError::Incomplete { missing, .. } if missing == ["clientsecret"])
    );
}

#[test]
fn an_instance_secret_is_a_secret() {
    let credentials = format!(r#""credential-type":"instance-secret",{SECRET}"#);
    let found = bindings(&vcap(&[entry("dest", &credentials)]));
    let found = found.destination(&Settings::default()).unwrap().unwrap();
    assert!(matches!(found.credential, ServiceCredential::Secret(_)));
}

#[test]
fn a_self_managed_key_and_certificate_come_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("key.pem"), "-----BEGIN PRIVATE KEY-----").unwrap();
    fs::write(path("chain.pem"), "-----BEGIN CERTIFICATE-----").unwrap();
    let credentials =
        x509("").replace(&format!(r#","certificate":"{CHAIN}""#), r#","hide-certificate":true"#);
    let found = bindings(&vcap(&[entry("dest", &credentials)]));
    let mut settings = Settings { key_file: Some(path("key.pem")), ..Settings::default() };
    let lacking = found.destination(&settings).unwrap_err();
    assert!(matches!(lacking, BindingError::PartMissing { field: "certificate", .. }));
    settings.certificate_file = Some(path("chain.pem"));
    assert!(found.destination(&settings).unwrap().is_some());
    settings.key_file = Some(path("missing.pem"));
    let unreadable = found.destination(&settings).unwrap_err();
    assert!(matches!(unreadable, BindingError::Unreadable { source_name: "binding.key_file", .. }));
}

#[rstest]
#[case::an_entry_that_is_no_object(r#"{"odd":[1,null,"x"],"destination":[ENTRY]}"#)]
#[case::a_label_that_is_no_array(r#"{"odd":{"a":1},"destination":[ENTRY]}"#)]
#[case::members_of_wrong_types(
    r#"{"odd":[{"name":1,"label":[],"tags":"x","plan":{},"credentials":"c"}],"destination":[ENTRY]}"#
)]
#[case::members_twice(r#"{"odd":[{"name":"a","name":"b"}],"destination":[ENTRY]}"#)]
#[case::no_credentials(r#"{"odd":[{"name":"a","tags":null}],"destination":[ENTRY]}"#)]
fn one_malformed_entry_does_not_affect_the_others(#[case] text: &str) {
    let text = text.replace("ENTRY", &entry("dest", SECRET));
    assert!(bindings(&text).destination(&Settings::default()).unwrap().is_some());
}

#[test]
fn a_tag_chooses_where_no_label_does() {
    let text = vcap(&[entry("dest", SECRET)]).replace(r#"{"destination":["#, r#"{"managed":["#);
    assert!(bindings(&text).destination(&Settings::default()).unwrap().is_some());
}

#[rstest]
#[case("one", true)]
#[case("two-instance", true)]
#[case("three", false)]
fn the_setting_names_a_binding_or_an_instance(#[case] wanted: &str, #[case] exists: bool) {
    let found = bindings(&vcap(&[entry("one", SECRET), entry("two", SECRET)]));
    let settings = Settings { destination: Some(wanted.to_owned()), ..Settings::default() };
    match found.destination(&settings) {
        Ok(binding) => assert!(exists && binding.is_some()),
        Err(BindingError::NotFound { found, .. }) => {
            assert!(!exists);
            assert_eq!(found, ["one", "two"]);
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_user_provided_service_key_counts_only_by_name() {
    let text = format!(
        r#"{{"user-provided":[{{"label":"user-provided","name":"key","tags":[],"instance_name":"key","credentials":{{{SECRET}}}}}]}}"#
    );
    let found = bindings(&text);
    assert!(found.destination(&Settings::default()).unwrap().is_none());
    let settings = Settings { destination: Some("key".to_owned()), ..Settings::default() };
    assert!(found.destination(&settings).unwrap().is_some());
}

/// A user-provided service with a tag.
fn tagged(tag: &str, credentials: &str) -> String {
    format!(
        r#"{{"label":"user-provided","name":"mine","tags":["{tag}"],"credentials":{{{credentials}}}}}"#
    )
}

#[test]
fn a_user_provided_service_key_is_found_by_its_tag() {
    let found = bindings(&format!(r#"{{"user-provided":[{}]}}"#, tagged("destination", SECRET)));
    assert_eq!(found.destination(&Settings::default()).unwrap().unwrap().name, "mine");
    assert!(found.xsuaa(&Settings::default()).unwrap().is_none());
    let xsuaa = SECRET.replace(
        r#""uri":"https://destination.example""#,
        r#""uaadomain":"a.example","xsappname":"x!t1","zoneid":"z""#,
    );
    let found = bindings(&format!(r#"{{"user-provided":[{}]}}"#, tagged("xsuaa", &xsuaa)));
    assert_eq!(found.xsuaa(&Settings::default()).unwrap().unwrap().xsappname, "x!t1");
    let identity = tagged("identity", r#""clientid":"c","domains":["a.example"]"#);
    let found = bindings(&format!(r#"{{"user-provided":[{identity}]}}"#));
    assert!(found.identity(&Settings::default()).unwrap().is_some());
}

#[test]
fn a_tagged_user_provided_service_beside_a_managed_one_is_ambiguous() {
    let text = vcap(&[entry("managed", SECRET)]);
    let both = text.replacen(
        '{',
        &format!(r#"{{"user-provided":[{}],"#, tagged("destination", SECRET)),
        1,
    );
    let error = bindings(&both).destination(&Settings::default()).unwrap_err().to_string();
    assert!(error.contains("managed (") && error.contains("mine ("), "{error}");
}

#[test]
fn a_tagged_user_provided_service_without_the_whole_key_is_named() {
    let text = format!(r#"{{"user-provided":[{}]}}"#, tagged("destination", r#""clientid":"c""#));
    let error = bindings(&text).destination(&Settings::default()).unwrap_err();
    assert_eq!(error.to_string(), "binding mine (VCAP_SERVICES) lacks uri, url");
    assert!(error.hint().contains("user-provided"));
}

#[test]
fn a_tagged_destination_is_no_service_key() {
    let properties = r#""Name":"CFAPI","Authentication":"OAuth2Password","URL":"u""#;
    let found =
        bindings(&format!(r#"{{"user-provided":[{}]}}"#, tagged("destination", properties)));
    assert!(found.destination(&Settings::default()).unwrap().is_none());
    assert!(found.destination_properties("CFAPI").unwrap().is_some());
}

#[rstest]
fn a_byte_order_mark_is_skipped_in_every_delivery(
    #[values(Layout::Variable, Layout::File, Layout::Platform, Layout::Operator)] layout: Layout,
) {
    let mark = "\u{feff}";
    let mut environment = deliver(layout, &[("dest", SECRET)]);
    let sources = &mut environment.sources;
    if let Some(text) = &sources.vcap_services {
        sources.vcap_services = Some(SourceText::from(format!("{mark}{}", text.as_str())));
    }
    let files =
        sources.binding_root.iter().flat_map(|root| fs::read_dir(root.join("dest")).unwrap());
    let files = files.map(|file| file.unwrap().path());
    for path in files.chain(sources.vcap_services_file.clone()) {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{mark}{text}")).unwrap();
    }
    sources.vcap_application = Some(format!("{mark}{{\"name\":\"broker\"}}"));
    let binding = only_destination(sources).unwrap().unwrap();
    assert_eq!(binding.client_id, "sb-clone1!b2|destination-xsappname!b404");
    let found = Bindings::read(sources).unwrap();
    assert_eq!(found.application().unwrap().name.as_deref(), Some("broker"));
}

#[rstest]
#[case::own_name(
    r#"[{"name":"x","credentials":{"Name":"CFAPI","Authentication":"OAuth2Password"}}]"#,
    true
)]
#[case::instance_name(
    r#"[{"name":"CFAPI","credentials":{"Authentication":"OAuth2Password"}}]"#,
    true
)]
#[case::other_own_name(
    r#"[{"name":"CFAPI","credentials":{"Name":"other","Authentication":"OAuth2Password"}}]"#,
    false
)]
#[case::no_authentication(r#"[{"name":"CFAPI","credentials":{"Name":"CFAPI"}}]"#, true)]
#[case::only_a_user(r#"[{"name":"CFAPI","credentials":{"User":"u"}}]"#, true)]
#[case::sdk_spelling(r#"[{"name":"x","credentials":{"name":"CFAPI","authentication":"x"}}]"#, true)]
#[case::a_service_key(r#"[{"name":"CFAPI","credentials":{"clientid":"c","url":"u"}}]"#, false)]
#[case::no_credentials(r#"[{"name":"CFAPI","credentials":{}}]"#, false)]
#[case::one_with_and_one_without_authentication(
    r#"[{"name":"CFAPI","credentials":{"User":"u"}},{"name":"CFAPI","credentials":{"Authentication":"x"}}]"#,
    true
)]
fn a_user_provided_service_can_be_the_destination(#[case] entries: &str, #[case] is_one: bool) {
    let found = bindings(&format!(r#"{{"user-provided":{entries}}}"#));
    let properties = found.destination_properties("CFAPI").unwrap();
    assert_eq!(properties.is_some(), is_one);
}

#[test]
fn two_user_provided_destinations_of_one_name_are_ambiguous() {
    let entry = r#"{"name":"a","credentials":{"Name":"CFAPI","Authentication":"x"}}"#;
    let found = bindings(&format!(r#"{{"user-provided":[{entry},{entry}]}}"#));
    let error = found.destination_properties("CFAPI").unwrap_err();
    assert!(matches!(error, BindingError::Ambiguous { .. }));
}

#[test]
fn variable_and_file_may_agree_but_not_differ() {
    let text = vcap(&[entry("dest", SECRET)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{text}\n")).unwrap();
    let mut sources = inline(&text);
    sources.vcap_services_file = Some(file.path().to_owned());
    assert!(only_destination(&sources).unwrap().is_some());
    fs::write(file.path(), vcap(&[])).unwrap();
    assert_eq!(only_destination(&sources).unwrap_err(), BindingError::Conflict);
}

#[rstest]
#[case("[]")]
#[case("\"canary\"")]
#[case("{\"a\":")]
#[case("")]
fn a_text_that_is_no_object_is_an_error_that_does_not_quote_it(#[case] text: &str) {
    let error = Bindings::read(&inline(text)).unwrap_err();
    assert!(matches!(error, BindingError::Malformed { source_name: "VCAP_SERVICES", .. }));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn paths_that_cannot_be_read_are_errors_that_name_the_variable() {
    let missing = tempfile::tempdir().unwrap().path().join("gone");
    let file =
        BindingSources { vcap_services_file: Some(missing.clone()), ..BindingSources::default() };
    let root = BindingSources { binding_root: Some(missing), ..BindingSources::default() };
    for (sources, name) in [(file, "VCAP_SERVICES_FILE_PATH"), (root, "SERVICE_BINDING_ROOT")] {
        let error = Bindings::read(&sources).unwrap_err();
        assert!(
            matches!(error, BindingError::Unreadable { source_name, .. } if source_name == name)
        );
    }
}

#[rstest]
#[case("instance-name", "binding-guid")]
#[case("instance_name", "binding_guid")]
fn envelope_fields_have_dashes_or_underscores(#[case] instance: &str, #[case] guid: &str) {
    let environment = deliver(Layout::Platform, &[("dest", SECRET)]);
    let directory = environment.sources.binding_root.as_ref().unwrap().join("dest");
    fs::write(directory.join(instance), "my-instance").unwrap();
    fs::write(directory.join(guid), "g").unwrap();
    fs::create_dir(directory.join("..data")).unwrap();
    let found = Bindings::read(&environment.sources).unwrap();
    let settings = Settings { destination: Some("my-instance".to_owned()), ..Settings::default() };
    assert!(found.destination(&settings).unwrap().is_some());
    let summary = found.inventory().remove(0);
    assert_eq!(summary.delivery, Delivery::Directory);
    assert_eq!(summary.fields, ["clientid", "clientsecret", "uri", "url"]);
}

#[test]
fn hidden_directories_are_not_bindings() {
    let environment = deliver(Layout::Platform, &[("dest", SECRET)]);
    let root = environment.sources.binding_root.as_ref().unwrap();
    fs::create_dir(root.join("..2026_11_24")).unwrap();
    fs::write(root.join("a-file"), "x").unwrap();
    assert_eq!(Bindings::read(&environment.sources).unwrap().inventory().len(), 1);
}

#[cfg(unix)]
#[test]
fn files_may_be_links() {
    let environment = deliver(Layout::Platform, &[("dest", SECRET)]);
    let directory = environment.sources.binding_root.as_ref().unwrap().join("dest");
    let data = directory.join("..data");
    fs::create_dir(&data).unwrap();
    fs::rename(directory.join("clientsecret"), data.join("clientsecret")).unwrap();
    std::os::unix::fs::symlink("..data/clientsecret", directory.join("clientsecret")).unwrap();
    assert!(only_destination(&environment.sources).unwrap().is_some());
}

#[test]
fn metadata_names_files_formats_and_containers() {
    let environment = deliver(Layout::Operator, &[]);
    let directory = environment.sources.binding_root.as_ref().unwrap().join("dest");
    fs::create_dir(&directory).unwrap();
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    write("kind.txt", "destination");
    write("all.json", r#"{"clientid":"c","clientsecret":"s","nested":{"a":1}}"#);
    write("uri.json", r#""https://destination.example""#);
    write("url", "https://p.example\n");
    write("ignored", "not in the metadata");
    write(
        ".metadata",
        r#"{"metaDataProperties":[{"name":"type","sourceName":"kind.txt","format":"text"}],
            "credentialProperties":[{"name":"all","sourceName":"all.json","format":"json","container":true},
              {"name":"uri","sourceName":"uri.json","format":"json"},{"name":"url","format":"text"}]}"#,
    );
    let found = Bindings::read(&environment.sources).unwrap();
    assert_eq!(found.inventory()[0].fields, ["clientid", "clientsecret", "uri", "url"]);
    let binding = found.destination(&Settings::default()).unwrap().unwrap();
    assert_eq!(binding.service.as_str(), "https://destination.example/");
}

#[rstest]
#[case(r#"{"credentialProperties":[{"name":"a","sourceName":"../outside"}]}"#)]
#[case(r#"{"credentialProperties":[{"name":"gone"}]}"#)]
#[case("no JSON")]
fn a_directory_with_malformed_metadata_is_skipped(#[case] metadata: &str) {
    let environment = deliver(Layout::Operator, &[("dest", SECRET)]);
    let root = environment.sources.binding_root.as_ref().unwrap();
    fs::write(root.join("outside"), "x").unwrap();
    fs::create_dir(root.join("odd")).unwrap();
    fs::write(root.join("odd/.metadata"), metadata).unwrap();
    let found = Bindings::read(&environment.sources).unwrap();
    assert_eq!(found.inventory().len(), 1);
    assert!(found.destination(&Settings::default()).unwrap().is_some());
}

#[rstest]
#[case("http://destination.example")]
#[case("https://u@destination.example")]
#[case("destination.example")]
fn a_secret_goes_to_secure_addresses_only(#[case] address: &str) {
    let credentials = SECRET.replace("https://destination.example", address);
    let error = only_destination(&inline(&vcap(&[entry("dest", &credentials)]))).unwrap_err();
    assert!(matches!(error, BindingError::Address { field: "uri", .. }));
}

#[test]
fn all_missing_fields_are_named_at_once() {
    let error = only_destination(&inline(&vcap(&[entry("dest", r#""uri":"""#)]))).unwrap_err();
    assert_eq!(error.to_string(), "binding dest (VCAP_SERVICES) lacks clientid, uri, url");
}

#[test]
fn an_xsuaa_binding_has_its_zones() {
    let text = r#"{"xsuaa":[{"name":"x","label":"xsuaa","plan":"application","tags":["xsuaa"],"credentials":{
        "clientid":"sb-broker!t1","clientsecret":"s","url":"https://p.authentication.example","uaadomain":"authentication.example",
        "xsappname":"broker!t1","identityzoneid":"zone-1","zoneid":"zone-1","tenantid":"zone-2","apiurl":"https://api.example"}}]}"#;
    let binding = bindings(text).xsuaa(&Settings::default()).unwrap().unwrap();
    assert_eq!(binding.xsappname, "broker!t1");
    assert_eq!(binding.uaa_domain, "authentication.example");
    assert_eq!(binding.zones, ["zone-1", "zone-2"]);
}

const IDENTITY: &str = r#""clientid":"c0ffee00-1","clientsecret":"s","credential-type":"SECRET",
    "url":"https://t.accounts.example","app_tid":"tenant-1","btp-tenant-api":"https://api.example""#;

fn identity(more: &str) -> Result<Option<IdentityBinding>, BindingError> {
    let text = format!(
        r#"{{"identity":[{{"name":"ias","label":"identity","credentials":{{{IDENTITY}{more}}}}}]}}"#
    );
    bindings(&text).identity(&Settings::default())
}

#[rstest]
#[case::list(r#","domains":["accounts.example","a.example"]"#, &["accounts.example", "a.example"])]
#[case::text_of_a_list(r#","domains":"[\"accounts.example\"]""#, &["accounts.example"])]
#[case::empty(r#","domains":[]"#, &[])]
#[case::empty_text_of_a_list(r#","domains":"[]""#, &[])]
#[case::odd_items(r#","domains":[1,"accounts.example",null,["x"]]"#, &["accounts.example"])]
#[case::text_of_no_list(r#","domains":"{\"a\":1}""#, &[])]
fn an_identity_binding_has_its_domains(#[case] more: &str, #[case] domains: &[&str]) {
    let binding = identity(more).unwrap().unwrap();
    assert_eq!(binding.domains, domains);
    assert_eq!(
        (binding.client_id.as_str(), binding.tenants),
        ("c0ffee00-1", vec!["tenant-1".to_owned()])
    );
    assert_eq!(binding.url.unwrap().host_str(), Some("t.accounts.example"));
    assert!(binding.secret.is_some());
}

#[rstest]
#[case::absent("")]
#[case::null(r#","domains":null"#)]
#[case::number(r#","domains":7"#)]
#[case::object(r#","domains":{"accounts.example":1}"#)]
#[case::plain_text(r#","domains":"accounts.example""#)]
#[case::empty_text(r#","domains":"""#)]
fn an_identity_binding_without_a_list_of_domains_is_incomplete(#[case] more: &str) {
    assert_eq!(
        identity(more).unwrap_err().to_string(),
        "binding ias (VCAP_SERVICES) lacks domains"
    );
}

#[test]
fn an_identity_binding_needs_no_credential_and_accepts_the_older_tenant_field() {
    let text = r#"{"x":[{"name":"ias","tags":["identity"],"credentials":{
        "clientid":"c","credential-type":"NONE","zone_uuid":"tenant-2","app_tid":"","domains":["d.example"]}}]}"#;
    let binding = bindings(text).identity(&Settings::default()).unwrap().unwrap();
    assert!(binding.secret.is_none() && binding.url.is_none());
    assert_eq!(binding.tenants, ["tenant-2"]);
}

#[rstest]
#[case::json("json", r#"["accounts.example","b.example"]"#)]
#[case::text("text", r#"["accounts.example","b.example"]"#)]
#[case::text_in_json("json", r#""[\"accounts.example\",\"b.example\"]""#)]
fn a_list_comes_through_files_too(#[case] format: &str, #[case] domains: &str) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("ias");
    fs::create_dir(&directory).unwrap();
    let metadata = format!(
        r#"{{"metaDataProperties":[{{"name":"type","format":"text"}}],
            "credentialProperties":[{{"name":"clientid","format":"text"}},{{"name":"domains","format":"{format}"}}]}}"#
    );
    for (name, text) in [
        (".metadata", metadata.as_str()),
        ("type", "identity"),
        ("clientid", "c"),
        ("domains", domains),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
    let sources =
        BindingSources { binding_root: Some(root.path().to_owned()), ..BindingSources::default() };
    let binding =
        Bindings::read(&sources).unwrap().identity(&Settings::default()).unwrap().unwrap();
    assert_eq!(binding.domains, ["accounts.example", "b.example"]);
}

#[test]
fn no_debug_shows_a_secret() {
    let credentials = SECRET.replace("a+b=$", "canary");
    let sources = inline(&vcap(&[entry("dest", &credentials)]));
    let found = Bindings::read(&sources).unwrap();
    let binding = found.destination(&Settings::default()).unwrap();
    let shown = format!("{sources:?} {found:?} {binding:?} {:?}", found.inventory());
    assert!(shown.contains("clientsecret") && !shown.contains("canary"));
}

#[test]
fn every_field_of_vcap_application_is_optional() {
    let application = Application::parse("{}").unwrap();
    assert!(application.cf_api.is_none() && application.uris.is_empty());
    assert!(Bindings::read(&BindingSources::default()).unwrap().application().is_none());
}

#[test]
fn vcap_application_is_read_by_its_newer_names_first() {
    let application = Application::parse(
        r#"{"application_name":"broker","name":"old","application_uris":["a.example"],"uris":["b.example"],
            "cf_api":"https://api.cf.example.com","space_id":"s","limits":{"fds":1},"users":null}"#,
    )
    .unwrap();
    assert_eq!(application.name.as_deref(), Some("broker"));
    assert_eq!(application.uris, ["a.example"]);
    assert_eq!(application.cf_api.unwrap().host_str(), Some("api.cf.example.com"));
    assert_eq!(application.space_id.as_deref(), Some("s"));
}

#[rstest]
#[case(r#"{"cf_api":"http://api.cf.example.com"}"#)]
#[case(r#"{"cf_api":""}"#)]
fn an_unusable_cf_api_does_not_switch_the_pin_off(#[case] text: &str) {
    let error = Application::parse(text).unwrap_err();
    assert_eq!(error, BindingError::Application { field: "cf_api" });
}

#[test]
fn an_empty_name_in_the_settings_is_a_finding() {
    let settings = Settings { xsuaa: Some(String::new()), ..Settings::default() };
    let fields: Vec<_> = settings.validate().iter().map(|finding| finding.field).collect();
    assert_eq!(fields, ["xsuaa"]);
    assert!(toml::from_str::<Settings>("destinatoin = 'x'").is_err());
}
