//! What holds for every page of a list of blobs.

use crate::rest::read_page;

/// Of any bytes where a page should be: what is read is no more than what came.
pub(crate) fn any_bytes(bytes: &[u8]) {
    let Ok(page) = read_page(bytes) else { return };
    let mut read = page.next.map_or(0, |marker| marker.len());
    for blob in page.blobs {
        assert!(!blob.name.is_empty());
        read += blob.name.len();
        read += blob.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    }
    assert!(read <= bytes.len(), "{read} bytes of {}", bytes.len());
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::testing::properties::holds;

    const PARTS: [&str; 26] = [
        "<EnumerationResults>",
        "</EnumerationResults>",
        "<Blobs>",
        "</Blobs>",
        "<Blob>",
        "</Blob>",
        "<Name>",
        "<Name Encoded=\"true\">",
        "</Name>",
        "<Properties>",
        "</Properties>",
        "<LeaseState>",
        "</LeaseState>",
        "<Metadata>",
        "</Metadata>",
        "<NextMarker />",
        "<!DOCTYPE a [<!ENTITY a \"b\">]>",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "&amp;",
        "&#x10ffff;",
        "%EF%BF%BF",
        "available",
        "\u{feff}",
    ];

    fn page() -> impl Strategy<Value = String> {
        let name = prop_oneof!["[^<&]{1,8}", Just("&lt;%41".to_owned()), Just("<![CDATA[&]]>".to_owned())];
        let encoded = select(vec!["<Name>", "<Name Encoded=\"true\">", "<Name Encoded='false'>"]);
        let blob = (encoded, name, "[A-Za-z_]{1,6}", "[^<&]{0,8}").prop_map(|(tag, name, key, value)| {
            format!("<Blob>{tag}{name}</Name><Properties/><Metadata><{key}>{value}</{key}></Metadata></Blob>")
        });
        (vec(blob, 0..4), "[^<&]{0,8}").prop_map(|(blobs, marker)| {
            let blobs = blobs.concat();
            format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>")
        })
    }

    #[test]
    fn any_page_is_no_more_than_what_came() {
        holds(page(), |page| any_bytes(page.as_bytes()));
        holds(vec(prop_oneof![9 => select(&PARTS[..]).prop_map(str::to_owned), 1 => ".{0,9}"], 0..30), |parts| {
            any_bytes(parts.concat().as_bytes());
        });
    }

    #[test]
    fn any_bytes_are_a_page_or_none() {
        holds(vec(any::<u8>(), 0..200), |bytes| any_bytes(&bytes));
        holds((page(), any::<Index>(), any::<u8>(), any::<bool>()), |(page, at, byte, cut)| {
            let mut bytes = page.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(if cut { at + 1 } else { bytes.len() });
            any_bytes(&bytes);
        });
    }
}
