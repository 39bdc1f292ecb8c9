//! The rewriter against whole texts, every split of them, and a JSON parser.

use super::{LinkBases, Rewriter};
use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use rstest::rstest;
use serde_json::{Value, json};
use std::sync::Arc;
use url::Url;

const API: &str = "https://api.cf.test";
const ALIAS: &str = "https://cf.alias.test:8443/";
const OWN: &str = "https://broker.test";

fn bases() -> Arc<LinkBases> {
    let (api, alias) = (Url::parse(API).unwrap(), Url::parse(ALIAS).unwrap());
    LinkBases::new(&api, Some(&alias), &Arc::from(OWN)).into()
}

fn rewrite(pieces: &[&[u8]]) -> String {
    let mut rewriter = Rewriter::new(bases());
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&rewriter.push(&Bytes::copy_from_slice(piece)));
        assert!(rewriter.held.len() <= 6 * (API.len() + 1) + 64, "held {}", rewriter.held.len());
    }
    out.extend_from_slice(&rewriter.finish());
    let whole = Rewriter::new(bases()).whole(&pieces.concat().into());
    assert_eq!(whole, out, "whole, and in pieces");
    String::from_utf8(out).unwrap()
}

#[rstest]
#[case::link(
    r#"{"href":"https://api.cf.test/v3/apps"}"#,
    r#"{"href":"https://broker.test/v3/apps"}"#
)]
#[case::end(r#"{"href":"https://api.cf.test"}"#, r#"{"href":"https://broker.test"}"#)]
#[case::query(r#"{"href":"https://api.cf.test?a=b"}"#, r#"{"href":"https://broker.test?a=b"}"#)]
#[case::blanks(
    "{ \"href\" \t:\n \"https://api.cf.test/x\" }",
    "{ \"href\" \t:\n \"https://broker.test/x\" }"
)]
#[case::ampersand(
    r#"{"href":"https://api.cf.test/v3?a=1\u0026b=2"}"#,
    r#"{"href":"https://broker.test/v3?a=1\u0026b=2"}"#
)]
#[case::escaped_slashes(
    r#"{"href":"https:\/\/api.cf.test\/v3"}"#,
    r#"{"href":"https://broker.test\/v3"}"#
)]
#[case::escaped_letter(
    r#"{"href":"\u0068ttps://api.cf.test/v3"}"#,
    r#"{"href":"https://broker.test/v3"}"#
)]
#[case::escaped_slash_codes(
    r#"{"href":"https:\u002f\u002Fapi.cf.test/v3"}"#,
    r#"{"href":"https://broker.test/v3"}"#
)]
#[case::scheme_in_capitals(
    r#"{"href":"HTTPS://api.cf.test/v3"}"#,
    r#"{"href":"https://broker.test/v3"}"#
)]
#[case::host_in_capitals(
    r#"{"href":"https://API.cf.Test/v3"}"#,
    r#"{"href":"https://broker.test/v3"}"#
)]
#[case::default_port(
    r#"{"href":"https://api.cf.test:443/v3"}"#,
    r#"{"href":"https://broker.test/v3"}"#
)]
#[case::default_port_and_end(
    r#"{"href":"https://api.cf.test:0443"}"#,
    r#"{"href":"https://broker.test"}"#
)]
#[case::empty_port(r#"{"href":"https://api.cf.test:?a"}"#, r#"{"href":"https://broker.test?a"}"#)]
#[case::escaped_name(
    r#"{"hre\u0066":"https://api.cf.test/v3"}"#,
    r#"{"hre\u0066":"https://broker.test/v3"}"#
)]
#[case::name_all_escaped(
    r#"{"a":"\"","\u0068\u0072\u0065\u0066" : "https://api.cf.test/v3"}"#,
    r#"{"a":"\"","\u0068\u0072\u0065\u0066" : "https://broker.test/v3"}"#
)]
#[case::both_names(
    r#"{"\u0068ref":"https://api.cf.test/a","b":{"href":"https://api.cf.test/b"}}"#,
    r#"{"\u0068ref":"https://broker.test/a","b":{"href":"https://broker.test/b"}}"#
)]
#[case::alias(
    r#"{"href":"https://cf.alias.test:8443/v3"}"#,
    r#"{"href":"https://broker.test/v3"}"#
)]
#[case::several(
    r#"[{"href":"https://api.cf.test/a"},{"href":"https://api.cf.test/b"}]"#,
    r#"[{"href":"https://broker.test/a"},{"href":"https://broker.test/b"}]"#
)]
#[case::denied_paths_too(
    r#"{"href":"https://api.cf.test/v2"}"#,
    r#"{"href":"https://broker.test/v2"}"#
)]
fn a_link_of_the_api_becomes_one_of_the_broker(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(rewrite(&[text.as_bytes()]), expected);
}

#[rstest]
#[case::null(r#"{"href":null}"#)]
#[case::other_host(r#"{"href":"https://login.cf.test/x"}"#)]
#[case::longer_host(r#"{"href":"https://api.cf.test.evil.example/x"}"#)]
#[case::port(r#"{"href":"https://api.cf.test:8443/x"}"#)]
#[case::port_of_another_scheme(r#"{"href":"https://api.cf.test:80/x"}"#)]
#[case::port_too_long(r#"{"href":"https://api.cf.test:000443/x"}"#)]
#[case::port_no_number(r#"{"href":"https://api.cf.test:443a/x"}"#)]
#[case::two_ports(r#"{"href":"https://api.cf.test:443:443/x"}"#)]
#[case::digits_behind_the_host(r#"{"href":"https://api.cf.test443/x"}"#)]
#[case::alias_with_another_port(r#"{"href":"https://cf.alias.test/x"}"#)]
#[case::longer_alias(r#"{"href":"https://cf.alias.test:84430/x"}"#)]
#[case::other_escaped_member(r#"{"hre\u0067":"https://api.cf.test/x"}"#)]
#[case::escaped_name_inside_a_text(r#"{"a":"\"hre\u0066\":\"https://api.cf.test/x\""}"#)]
#[case::escaped_name_as_a_value(r#"["hre\u0066","https://api.cf.test/x"]"#)]
#[case::userinfo(r#"{"href":"https://api.cf.test@evil.example/x"}"#)]
#[case::plain_http(r#"{"href":"http://api.cf.test/x"}"#)]
#[case::other_member(r#"{"url":"https://api.cf.test/x"}"#)]
#[case::longer_member(r#"{"xhref":"https://api.cf.test/x","hrefs":"https://api.cf.test/x"}"#)]
#[case::value_named_so(r#"["href","https://api.cf.test/x"]"#)]
#[case::inside_a_text(r#"{"a":"{\"href\":\"https://api.cf.test/x\"}"}"#)]
#[case::name_ends_so(r#"{"a\"href":"https://api.cf.test/x"}"#)]
#[case::text_in_the_middle(r#"{"href":"see https://api.cf.test/x"}"#)]
#[case::numbers(r#"{"href":12345678901234567890.10,"b":1e400}"#)]
#[case::object(r#"{"href":{"a":"https://api.cf.test/x"}}"#)]
#[case::short(r#"{"href":"https://api.cf"}"#)]
#[case::cut_off(r#"{"href":"https://api.c"#)]
#[case::no_json("\"href\" \"href\"::\"\\")]
#[case::empty("")]
fn everything_else_stays_as_it_is(#[case] text: &str) {
    assert_eq!(rewrite(&[text.as_bytes()]), text);
}

#[test]
fn backslashes_before_a_name_are_counted() {
    let two = r#"{"a":"\\","href":"https://api.cf.test/x"}"#;
    assert!(rewrite(&[two.as_bytes()]).contains(OWN));
    let name = r#"{"a\\\"href":"https://api.cf.test/x"}"#;
    assert_eq!(rewrite(&[name.as_bytes()]), name);
}

#[test]
fn a_text_without_links_is_not_copied() {
    let text = Bytes::from_static(b"{\"a\":1}");
    let mut rewriter = Rewriter::new(bases());
    assert_eq!(rewriter.push(&text).as_ptr(), text.as_ptr());
    assert_eq!(rewriter.whole(&text).as_ptr(), text.as_ptr());
}

#[test]
fn bases_know_the_urls_that_they_were_made_from() {
    let (api, alias) = (Url::parse(API).unwrap(), Url::parse(ALIAS).unwrap());
    assert!(bases().are_of(&api, Some(&alias)));
    assert!(!bases().are_of(&api, None));
    assert!(!bases().are_of(&alias, Some(&alias)));
    assert!(!bases().are_of(&api, Some(&api)));
}

#[test]
fn a_far_longer_name_of_the_broker_makes_the_text_longer() {
    let own = format!("https://{}.test", "b".repeat(200));
    let bases = LinkBases::new(&Url::parse(API).unwrap(), None, &Arc::from(own.as_str()));
    let text = Bytes::from(format!("[{}]", [r#"{"href":"https://api.cf.test/x"}"#; 9].join(",")));
    let expected = format!("[{}]", [format!(r#"{{"href":"{own}/x"}}"#).as_str(); 9].join(","));
    assert_eq!(Rewriter::new(bases.into()).whole(&text), expected);
}

#[rstest]
#[case(br#"{"a":"\u0061","\u0068r\u0065f":"https:\/\/API.cf.test:443/v3","n":{"hre\u0066":"https://cf.alias.test:8443/v3"},"href":"https://api.cf.test:44"}"#)]
#[case(br#"{"a":"\\\"href","links":{"self":{"href" : "https:\/\/api.cf.test/v3?x=\u0026"},"n":{"href":null},"o":{"href":"https://api.cf.tesT/"}}}"#)]
fn every_split_in_two_and_into_single_bytes_gives_the_same(#[case] text: &[u8]) {
    let expected = rewrite(&[text]);
    assert!(expected.contains("https://broker.test/v3"));
    for at in 0..=text.len() {
        let (left, right) = text.split_at(at);
        assert_eq!(rewrite(&[left, right]), expected, "cut at {at}");
    }
    let bytes: Vec<_> = text.chunks(1).collect();
    assert_eq!(rewrite(&bytes), expected);
}

#[test]
fn a_whole_url_is_below_the_base_or_not() {
    assert_eq!(bases().below("https://api.cf.test/v3/jobs/x"), Some("/v3/jobs/x"));
    assert_eq!(bases().below("https://api.cf.test"), Some(""));
    assert_eq!(bases().below("https://api.cf.test.evil/x"), None);
    assert_eq!(bases().below("/v3"), None);
    assert_eq!(bases().below("HTTPS://API.cf.test:443/v3"), Some("/v3"));
    assert_eq!(bases().below("https://cf.alias.test:8443/v3?a"), Some("/v3?a"));
    assert_eq!(bases().below("https://cf.alias.test/v3"), None);
    assert_eq!(bases().below("https://api.cf.test\u{e9}/v3"), None);
}

/// A JSON value with links, texts that look like links, and other content.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just(format!("{API}/v3/x")),
        Just(API.to_owned()),
        Just(format!("{API}.evil/x")),
        Just(format!("{}:443/x", API.to_uppercase())),
        Just(format!("{ALIAS}x")),
        Just("\"href\":\"https://api.cf.test/x\"".to_owned()),
        "[\\\\\"a-zé\u{1F600}]{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        text.clone().prop_map(Value::from)
    ];
    let name = prop_oneof![Just("href".to_owned()), text];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn by_parser(value: &Value) -> Value {
    let changed = |name: &str, value: &Value| match value.as_str() {
        Some(text) if name == "href" => match bases().below(text) {
            Some(rest) => Value::from(format!("{OWN}{rest}")),
            None => value.clone(),
        },
        _ => by_parser(value),
    };
    match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), changed(name, value))).collect()
        }
        Value::Array(items) => items.iter().map(by_parser).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

proptest! {
    #[test]
    fn it_does_what_a_parser_would(value in value(), sizes in prop::collection::vec(1_usize..40, 1..12)) {
        let text = value.to_string();
        let mut pieces = Vec::new();
        let mut rest = text.as_bytes();
        for size in sizes {
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        let expected = by_parser(&value).to_string();
        prop_assert_eq!(rewrite(&pieces), expected);
    }
}
