//! Credential fields: readable ones and sealed ones, distinguished by name during parsing.
//!
//! Invariant: a value whose name is not on the list of readable names is a `SecretString` as soon
//! as it is parsed; facts that validation needs (is it empty?) are noted before. `Debug` shows
//! names only. Used by this module and by `destination`, whose properties are fields too.

use super::{
    lenient::{LenientList, LenientReader, LenientSeed, LenientText},
    sealed::Sealed,
};
use crate::upstream::body::decode_local;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use std::fmt;
use zeroize::Zeroizing;

/// Credential fields and destination properties that may be readable: addresses, names, switches,
/// never a credential. A missing name costs a feature; a wrong one could expose a secret.
const OPEN: &[&str] = &[
    // Service credentials.
    "app_tid",
    "certificate",
    "certurl",
    "clientid",
    "credential-type",
    "domains",
    "hide-certificate",
    "hide-secret",
    "identityzone",
    "identityzoneid",
    "tenantid",
    "uaadomain",
    "uri",
    "url",
    "xsappname",
    "zone_uuid",
    "zoneid",
    // Destination properties.
    "Authentication",
    "HostnameVerifier",
    "Name",
    "ProxyType",
    "TrustAll",
    "Type",
    "URL",
    "User",
    "clientId",
    "origin",
    "scope",
    "tokenService.body.login_hint",
    "tokenServiceURL",
    "tokenServiceURL.ProxyType",
    "tokenServiceURL.queries.login_hint",
    "tokenServiceURLType",
    // The SAP Cloud SDK's spelling of destination properties.
    "authentication",
    "isTrustingAllCertificates",
    "name",
    "proxyType",
    "tokenServiceUrl",
    "type",
    "username",
];

/// Readable fields that may contain a list of texts; stored as the text of a JSON array, a form
/// that some deliveries use themselves.
const LISTS: &[&str] = &["domains"];

/// Properties that only a destination has, in the cockpit's and in the SAP Cloud SDK's spelling. A
/// service key has `url`, `uri`, `clientid` and others.
const DESTINATION: &[&str] = &[
    "Authentication",
    "authentication",
    "Name",
    "Password",
    "ProxyType",
    "proxyType",
    "Type",
    "URL",
    "User",
    "username",
    "clientId",
    "clientSecret",
    "tokenServiceURL",
    "tokenServiceUrl",
];

/// Header values must be readable to be sent as headers; there they are marked sensitive.
const OPEN_PREFIX: &str = "tokenServiceURL.headers.";

/// Named values in their original order. A name may occur twice.
#[derive(Clone, Default)]
pub struct Fields {
    values: Vec<(String, FieldValue)>,
    /// What is neither text nor switch, by name. It counts as absent.
    unusable: Vec<(String, JsonKind)>,
}

/// A JSON value that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// A number.
    Number,
    /// A list.
    List,
    /// An object.
    Object,
}

/// One value.
#[derive(Clone)]
pub enum FieldValue {
    /// A readable value.
    Open(Zeroizing<String>),
    /// A secret value.
    Sealed(Sealed),
}

impl Fields {
    /// Adds a field; its name decides whether it stays readable.
    pub fn push(&mut self, name: String, text: &str) {
        let field = FieldValue::of(&name, text);
        self.values.push((name, field));
    }

    /// Adds a field whose value is JSON; `None` if it is not valid JSON. A value of an unsupported
    /// type is skipped.
    pub(super) fn push_json(&mut self, name: String, json: &[u8]) -> Option<()> {
        match decode_local::<LenientText>(json).ok()?.0.map(Zeroizing::new) {
            Some(text) => self.push(name, &text),
            None if LISTS.contains(&name.as_str()) => {
                let items: LenientList<LenientText> = decode_local(json).ok()?;
                self.push(name, &list_text(&items.into_texts())?);
            }
            None => {}
        }
        Some(())
    }

    /// Returns what stands under a name in place of a text.
    pub fn unusable(&self, name: &str) -> Option<JsonKind> {
        self.unusable.iter().rev().find(|(held, _)| held == name).map(|(_, kind)| *kind)
    }

    /// Returns the readable value of that name; the last one, if it occurs twice.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            FieldValue::Open(text) => Some(text.as_str()),
            FieldValue::Sealed(_) => None,
        }
    }

    /// Returns the sealed value of that name; the last one, if it occurs twice.
    pub fn sealed(&self, name: &str) -> Option<&Sealed> {
        match self.get(name)? {
            FieldValue::Open(_) => None,
            FieldValue::Sealed(sealed) => Some(sealed),
        }
    }

    /// Returns whether the name occurs.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns whether these are properties of a destination, perhaps not all of them.
    pub fn is_destination(&self) -> bool {
        DESTINATION.iter().any(|property| self.has(property))
    }

    /// Returns whether the kind of logon is given.
    pub(super) fn has_authentication(&self) -> bool {
        self.has("Authentication") || self.has("authentication")
    }

    /// Returns all fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        self.values.iter().map(|(name, field)| (name.as_str(), field))
    }

    /// Returns the names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| name.as_str())
    }

    /// Returns names that occur more than once.
    pub fn repeated(&self) -> Vec<&str> {
        let names: Vec<&str> = self.names().collect();
        let mut twice: Vec<&str> = names
            .iter()
            .enumerate()
            .filter(|(index, name)| names.iter().take(*index).any(|earlier| earlier == *name))
            .map(|(_, name)| *name)
            .collect();
        twice.dedup();
        twice
    }

    /// Renames fields; a name for which `rename` returns `None` stays.
    #[must_use]
    pub fn renamed(self, rename: impl Fn(&str) -> Option<&'static str>) -> Self {
        let new = |name: String| rename(&name).map_or(name, str::to_owned);
        let values = self.values.into_iter().map(|(name, field)| (new(name), field)).collect();
        let unusable = self.unusable.into_iter().map(|(name, kind)| (new(name), kind)).collect();
        Self { values, unusable }
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.values.append(&mut others.values);
        self.unusable.append(&mut others.unusable);
    }

    fn get(&self, name: &str) -> Option<&FieldValue> {
        self.values.iter().rev().find(|(held, _)| held == name).map(|(_, field)| field)
    }
}

impl JsonKind {
    /// Names it in a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

impl FieldValue {
    fn of(name: &str, text: &str) -> Self {
        if OPEN.contains(&name) || name.starts_with(OPEN_PREFIX) {
            return Self::Open(Zeroizing::new(text.to_owned()));
        }
        Self::Sealed(Sealed::new(text))
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.names()).finish()
    }
}

impl fmt::Debug for FieldValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Open(_) => "Open(..)",
            Self::Sealed(_) => "Sealed(..)",
        })
    }
}

/// Reads an object. Values that are neither text nor boolean count as absent, except lists in the
/// fields of `LISTS`. Anything but an object yields no fields.
impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        LenientSeed(FieldsReader).deserialize(input)
    }
}

struct FieldsReader;

impl<'de> LenientReader<'de> for FieldsReader {
    type Value = Fields;

    fn absent(self) -> Fields {
        Fields::default()
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = object.next_key::<String>()? {
            match object.next_value_seed(LenientSeed(FieldReader(&name)))? {
                Ok(field) => fields.values.push((name, field)),
                Err(kind) => fields.unusable.extend(kind.map(|kind| (name, kind))),
            }
        }
        Ok(fields)
    }
}

/// Reads the value of the field with this name, or what it is in place of a text.
struct FieldReader<'n>(&'n str);

impl<'de> LenientReader<'de> for FieldReader<'_> {
    type Value = Result<FieldValue, Option<JsonKind>>;

    fn absent(self) -> Self::Value {
        Err(None)
    }

    fn text(self, text: &str) -> Self::Value {
        Ok(FieldValue::of(self.0, text))
    }

    fn number(self) -> Self::Value {
        Err(Some(JsonKind::Number))
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err(Some(JsonKind::Object)))
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(LenientText(item)) = array.next_element()? {
            texts.extend(item);
        }
        let list = LISTS.contains(&self.0).then(|| list_text(&texts)).flatten();
        Ok(list.map(|list| FieldValue::of(self.0, &list)).ok_or(Some(JsonKind::List)))
    }
}

/// Returns a list as the text of a JSON array.
fn list_text(texts: &[String]) -> Option<String> {
    serde_json::to_string(texts).ok()
}

#[cfg(test)]
mod tests {
    use super::{FieldValue, Fields, JsonKind, Sealed};
    use crate::binding::SecretForm;
    use crate::upstream::body::decode;
    use rstest::rstest;

    #[test]
    fn a_name_that_is_not_listed_is_sealed() {
        let fields: Fields =
            decode(br#"{"clientid":"sb-x!b1|y!b2","clientsecret":"s3cret","novel":"n"}"#).unwrap();
        assert_eq!(fields.text("clientid"), Some("sb-x!b1|y!b2"));
        assert_eq!(fields.text("clientsecret"), None);
        assert!(fields.sealed("novel").is_some());
    }

    #[test]
    fn debug_shows_names_and_no_value() {
        let fields: Fields = decode(br#"{"url":"https://a.example","Password":"canary"}"#).unwrap();
        let shown = format!("{fields:?} {:?}", fields.iter().collect::<Vec<_>>());
        assert!(shown.contains("Password") && shown.contains("url"));
        assert!(!shown.contains("canary") && !shown.contains("a.example"));
    }

    #[test]
    fn values_of_other_types_are_skipped() {
        let fields: Fields = decode(
            br#"{"$metadata":{"a":[1,{"b":null}]},"n":1,"f":-1.5,"z":null,"TrustAll":true,"l":["x"],"User":"u"}"#,
        )
        .unwrap();
        assert_eq!(fields.names().collect::<Vec<_>>(), ["TrustAll", "User"]);
        let kinds =
            ["n", "f", "l", "$metadata", "z", "User", "x"].map(|name| fields.unusable(name));
        let (number, list, object) = (JsonKind::Number, JsonKind::List, JsonKind::Object);
        let expected = [Some(number), Some(number), Some(list), Some(object), None, None, None];
        assert_eq!(kinds, expected);
        assert_eq!(fields.text("TrustAll"), Some("true"));
    }

    #[rstest]
    #[case(r#"["a","b"]"#)]
    #[case(r#"["a",7,null,{"x":["y"]},"b"]"#)]
    #[case(r#""[\"a\",\"b\"]""#)]
    fn a_list_is_kept_as_the_text_of_a_list(#[case] value: &str) {
        let fields: Fields =
            decode(format!(r#"{{"domains":{value},"other":["a"]}}"#).as_bytes()).unwrap();
        assert_eq!(fields.text("domains"), Some(r#"["a","b"]"#));
        assert!(!fields.has("other"));
    }

    #[rstest]
    #[case("", SecretForm::Empty)]
    #[case("<< Existing password/certificate removed on export >>", SecretForm::ExportMark)]
    #[case("a\0b", SecretForm::HasNul)]
    #[case(" ", SecretForm::Usable)]
    #[case("<<a", SecretForm::Usable)]
    #[case("<password>", SecretForm::Placeholder)]
    #[case("YOUR_PASSWORD", SecretForm::Placeholder)]
    fn the_form_of_a_secret_is_recognised(#[case] text: &str, #[case] form: SecretForm) {
        assert_eq!(Sealed::new(text).form, form);
    }

    #[test]
    fn the_last_of_two_wins_and_the_repetition_is_known() {
        let fields: Fields = decode(br#"{"User":"a","x":"1","User":"b"}"#).unwrap();
        assert_eq!(fields.text("User"), Some("b"));
        assert_eq!(fields.repeated(), ["User"]);
    }

    #[test]
    fn renaming_keeps_what_is_sealed_sealed() {
        let fields: Fields = decode(br#"{"password":"p","url":"u"}"#).unwrap();
        let renamed = fields.renamed(|name| match name {
            "password" => Some("Password"),
            _ => None,
        });
        assert!(matches!(renamed.get("Password"), Some(FieldValue::Sealed(_))));
        assert_eq!(renamed.text("url"), Some("u"));
    }
}
