//! Path templates of the allow list: literal segments and `{guid}`.
//!
//! Invariant: a template matches whole segments only; no placeholder spans several. Used by `rule`.

/// Longest guid that is accepted; CF's have 36 characters, some older resources have other forms.
const MAX_GUID: usize = 64;

/// A template without `/v3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Guid,
}

impl Template {
    /// Parses `/v3` or `/v3/…`; `None` for anything but lower-case literal segments and `{guid}`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let below = text.strip_prefix("/v3")?;
        if below.is_empty() {
            return Some(Self(Vec::new()));
        }
        below.strip_prefix('/')?.split('/').map(Segment::parse).collect::<Option<_>>().map(Self)
    }

    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Returns whether what follows `/v3` has this form.
    pub(super) fn matches(&self, below: &str) -> bool {
        let mut rest = below;
        for own in &self.0 {
            let Some(after) = own.rest_after(rest) else {
                return false;
            };
            rest = after;
        }
        rest.is_empty()
    }

    /// Returns whether every path of `other` has this form too.
    pub(super) fn hides(&self, other: &Self) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        self.depth() == other.depth() && pairs().all(|(own, other)| own.hides(other))
    }

    /// Returns the texts at the template's `{guid}`s.
    pub(super) fn guids<'a>(&self, below: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.iter().zip(below.split('/').skip(1));
        pairs.filter(|(own, _)| **own == Segment::Guid).map(|(_, given)| given)
    }
}

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        if text == "{guid}" {
            return Some(Self::Guid);
        }
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let literal = !text.is_empty() && text.bytes().all(is_allowed);
        literal.then(|| Self::Literal(text.to_owned()))
    }

    /// Returns the rest of a text after this segment and its leading slash: nothing, or further
    /// segments.
    fn rest_after<'a>(&self, text: &'a str) -> Option<&'a str> {
        let given = text.strip_prefix('/')?;
        let after = match self {
            Self::Literal(own) => given.strip_prefix(own.as_str())?,
            Self::Guid => {
                let end = given.bytes().position(|byte| byte == b'/').unwrap_or(given.len());
                let (guid, after) = given.split_at_checked(end)?;
                Some(after).filter(|_| is_guid(guid))?
            }
        };
        Some(after).filter(|after| after.is_empty() || after.starts_with('/'))
    }

    fn hides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Guid, Self::Guid) => true,
            (Self::Guid, Self::Literal(text)) => is_guid(text),
            (Self::Literal(own), Self::Literal(text)) => own == text,
            (Self::Literal(_), Self::Guid) => false,
        }
    }
}

/// Returns whether a text can be a guid: `[A-Za-z0-9-]{1,64}`.
pub(super) fn is_guid(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=MAX_GUID).contains(&text.len()) && text.bytes().all(is_allowed)
}
