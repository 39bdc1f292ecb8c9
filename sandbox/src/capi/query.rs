//! The query string as Rack reads it: the last of equal names wins, `a[b]=c` nests, `a[]=b` becomes
//! the text `["b"]`. This decodes once. The comma lists of filters are decoded a second time
//! (`list`).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A parsed query, in the order of first appearance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, Param)>);

/// The value of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// `name=value`.
    Text(String),
    /// `name[operator]=value`.
    Nested(Vec<(String, String)>),
}

/// The query holds bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadEncoding;

impl Query {
    /// Parses the raw text after the question mark.
    pub(crate) fn parse(raw: &str) -> Result<Self, BadEncoding> {
        let mut query = Self::default();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.add(&decode(key)?, decode(value)?);
        }
        Ok(query)
    }

    pub(crate) fn entries(&self) -> &[(String, Param)] {
        &self.0
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, param)| param)
    }

    /// Returns the plain text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Param::Text(text) => Some(text),
            Param::Nested(_) => None,
        }
    }

    /// Returns the same query with one parameter from the path, as for `/v3/apps/{guid}/routes`.
    #[must_use]
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut query = self.clone();
        query.put(name, Param::Text(value.to_owned()));
        query
    }

    /// Tells whether any value holds a NUL. CC's database cannot take it.
    pub(crate) fn holds_nul(&self) -> bool {
        self.0.iter().any(|(_, param)| match param {
            Param::Text(text) => text.contains('\0'),
            Param::Nested(pairs) => pairs.iter().any(|(_, text)| text.contains('\0')),
        })
    }

    fn add(&mut self, key: &str, value: String) {
        match key.split_once('[') {
            Some((name, "]")) => {
                let text = format!("[\"{value}\"]");
                self.put(name, Param::Text(text));
            }
            Some((name, rest)) if rest.ends_with(']') && !name.is_empty() => {
                let operator = rest.trim_end_matches(']').to_owned();
                match self.0.iter_mut().find(|(known, _)| known == name) {
                    Some((_, Param::Nested(pairs))) => pairs.push((operator, value)),
                    Some(_) | None => self.put(name, Param::Nested(vec![(operator, value)])),
                }
            }
            Some(_) | None => self.put(key, Param::Text(value)),
        }
    }

    fn put(&mut self, name: &str, param: Param) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = param,
            None => self.0.push((name.to_owned(), param)),
        }
    }
}

/// Encodes one part of a query as Ruby's `CGI.escape` does.
pub(crate) fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('*', "%2A")
        .replace("%7E", "~")
}

fn decode(text: &str) -> Result<String, BadEncoding> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| BadEncoding)
}

#[cfg(test)]
mod tests {
    use super::{BadEncoding, Param, Query, encode};

    #[test]
    fn the_last_of_equal_names_wins_and_brackets_nest() {
        let query = Query::parse("a=1&b=x+y%2B&a=2&c[gt]=3&c[lt]=4&names[]=dev&e").unwrap();
        assert_eq!(query.text("a"), Some("2"));
        assert_eq!(query.text("b"), Some("x y+"));
        let pairs = [("gt", "3"), ("lt", "4")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(query.get("c"), Some(&Param::Nested(pairs.to_vec())));
        assert_eq!(query.text("names"), Some("[\"dev\"]"));
        assert_eq!(query.text("e"), Some(""));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_an_error() {
        assert_eq!(Query::parse("a=%ff").unwrap_err(), BadEncoding);
    }

    #[test]
    fn parts_are_encoded_as_ruby_does() {
        assert_eq!(encode("a b*~,/[\"é"), "a+b%2A~%2C%2F%5B%22%C3%A9");
    }
}
