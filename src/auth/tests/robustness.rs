//! No input makes a parser panic, and accepted input has the promised form. `.ci/fuzz.sh` sets
//! `PROPTEST_CASES`.

use super::support::base64url;
use crate::auth::{bearer::CompactToken, jwks::KeySet, parsers};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{collection, prelude::*};

/// JSON-like text: JSON tokens in any order, so that some of it parses.
fn json_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(":"),
        Just(","),
        Just("null"),
        Just("true"),
        Just("-1"),
        Just("1e400"),
        Just("1800000500"),
        Just("\"alg\""),
        Just("\"RS256\""),
        Just("\"kid\""),
        Just("\"keys\""),
        Just("\"kty\""),
        Just("\"RSA\""),
        Just("\"n\""),
        Just("\"e\""),
        Just("\"AQAB\""),
        Just("\"exp\""),
        Just("\"aud\""),
        Just("\"scope\""),
        Just("\"\\ud800\""),
        Just("\"crit\""),
    ];
    collection::vec(word, 0..24).prop_map(|words| words.concat())
}

/// An object of known names and any values.
fn object_like() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("alg"),
        Just("kid"),
        Just("typ"),
        Just("crit"),
        Just("keys"),
        Just("kty"),
        Just("n"),
        Just("e"),
        Just("exp"),
        Just("nbf"),
        Just("aud"),
        Just("scope"),
        Just("zid"),
        Just("iss"),
        Just("cid"),
        Just("x"),
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("\"RS256\"".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[ -~]{0,8}".prop_map(|text| format!("{text:?}")),
        json_like(),
    ];
    collection::vec((name, value), 0..6).prop_map(|members| {
        let members: Vec<_> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![json_like(), object_like(), any::<String>()]
}

proptest! {
    #[test]
    fn any_authorization_is_read_without_panic(bytes in collection::vec(any::<u8>(), 0..80)) {
        parsers::token(&bytes);
        parsers::token(&[b"Bearer ".as_slice(), &bytes].concat());
    }

    #[test]
    fn a_compact_token_decodes_and_encodes_to_itself(text in "[A-Za-z0-9_=.+/-]{0,24}") {
        if let Ok(token) = CompactToken::parse(&text) {
            for segment in [token.header(), token.payload(), token.signature()] {
                prop_assert_eq!(base64url(&URL_SAFE_NO_PAD.decode(segment).unwrap()), segment);
            }
            prop_assert_eq!(format!("{}.{}", token.signed(), token.signature()), text);
        }
    }

    #[test]
    fn three_encoded_segments_are_a_compact_token(
        parts in prop::array::uniform3(collection::vec(any::<u8>(), 1..40)),
    ) {
        let text = parts.map(|part| base64url(&part)).join(".");
        prop_assert!(CompactToken::parse(&text).is_ok());
    }

    #[test]
    fn any_text_is_read_as_token_without_panic(text in any::<String>()) {
        let _ = CompactToken::parse(&text);
        parsers::token(format!("Bearer {text}").as_bytes());
    }

    #[test]
    fn any_header_is_read_without_panic(header in text()) {
        parsers::jose_header(header.as_bytes());
    }

    #[test]
    fn any_claims_are_read_without_panic(claims in text()) {
        parsers::claims(claims.as_bytes());
    }

    #[test]
    fn any_key_set_is_read_without_panic(
        document in text(),
        bytes in collection::vec(any::<u8>(), 0..60),
    ) {
        parsers::key_set(document.as_bytes());
        parsers::key_set(&bytes);
    }

    #[test]
    fn any_entry_leaves_a_key_set_readable(entry in object_like()) {
        let document = format!(r#"{{"keys":[{entry}]}}"#);
        // No filter: a million inputs would have too many rejects.
        prop_assert!(!is_json(&entry) || KeySet::parse(document.as_bytes()).is_ok());
    }
}

fn is_json(text: &str) -> bool {
    crate::upstream::body::decode::<serde_json::Value>(text.as_bytes()).is_ok()
}
