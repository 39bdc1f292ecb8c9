//! The files that pages load: style, script, icon.
//!
//! Invariant: the name of a file holds a hash of its content, so browsers may keep it for good.

/// A file that pages load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asset {
    stem: &'static str,
    ending: &'static str,
    hash: u64,
    /// Media type.
    pub(crate) content_type: &'static str,
    /// Content.
    pub(crate) text: &'static str,
}

/// How the name in a request fits a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AssetVersion {
    /// It is the name of this content.
    Current,
    /// It is the name of other content, for example of an instance with another version.
    Other,
}

/// The style sheet.
pub(crate) const STYLE: Asset =
    Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css"));
/// The script: filter, copy, live state.
pub(crate) const SCRIPT: Asset =
    Asset::new("script", "js", "text/javascript; charset=utf-8", include_str!("assets/script.js"));
/// The style sheet of the page of the API, besides the first one.
pub(crate) const API_STYLE: Asset =
    Asset::new("api", "css", "text/css; charset=utf-8", include_str!("assets/api.css"));
/// The script of the page of the API: it sends what a person has filled in.
pub(crate) const API_SCRIPT: Asset =
    Asset::new("api", "js", "text/javascript; charset=utf-8", include_str!("assets/api.js"));
/// The icon.
pub(crate) const ICON: Asset =
    Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg"));

const ALL: [Asset; 5] = [STYLE, SCRIPT, API_STYLE, API_SCRIPT, ICON];

impl Asset {
    const fn new(
        stem: &'static str,
        ending: &'static str,
        content_type: &'static str,
        text: &'static str,
    ) -> Self {
        Self { stem, ending, hash: hash_of(text.as_bytes()), content_type, text }
    }

    /// Returns the name of the file, with the hash of its content.
    pub(crate) fn name(&self) -> String {
        format!("{}-{:016x}.{}", self.stem, self.hash, self.ending)
    }

    /// Finds a file by its name. The name of another version finds this version.
    pub(crate) fn find(name: &str) -> Option<(Self, AssetVersion)> {
        let (stem, rest) = name.split_once('-')?;
        let (hash, ending) = rest.split_once('.')?;
        let is_hash = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut all = ALL.into_iter();
        let asset = all.find(|asset| is_hash && asset.stem == stem && asset.ending == ending)?;
        let is_current = asset.name() == name;
        Some((asset, if is_current { AssetVersion::Current } else { AssetVersion::Other }))
    }
}

/// FNV-1a: tells versions of a file apart, nothing more.
const fn hash_of(mut bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(0x0100_0000_01b3);
        bytes = rest;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{ALL, API_SCRIPT, API_STYLE, Asset, AssetVersion, SCRIPT, STYLE, hash_of};

    #[test]
    fn the_hash_is_that_of_the_content() {
        assert_eq!(hash_of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash_of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash_of(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_file_is_found_by_its_name_and_by_that_of_another_version() {
        for asset in ALL {
            let name = asset.name();
            let (found, version) = Asset::find(&name).unwrap();
            assert_eq!((found.text, version), (asset.text, AssetVersion::Current));
            let other = name.replace(&format!("{:016x}", asset.hash), "0123456789abcdef");
            let (found, version) = Asset::find(&other).unwrap();
            assert_eq!((found.text, version), (asset.text, AssetVersion::Other));
        }
        for name in ["style.css", "style-.css", "style-0.css", "style-0123456789abcdef.js", ""] {
            assert!(Asset::find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_files_are_small() {
        assert!(SCRIPT.text.len() <= 4096, "{}", SCRIPT.text.len());
        assert!(STYLE.text.len() <= 6144, "{}", STYLE.text.len());
        assert!(API_SCRIPT.text.len() <= 4096, "{}", API_SCRIPT.text.len());
        assert!(API_STYLE.text.len() <= 2048, "{}", API_STYLE.text.len());
        for asset in [STYLE, SCRIPT, API_STYLE, API_SCRIPT] {
            assert!(!asset.text.contains("//") && !asset.text.contains("url("), "{}", asset.stem);
        }
    }
}
