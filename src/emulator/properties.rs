//! The HTTP headers that are stored with a blob, and that it is read with.

use super::address::Address;
use super::http::{Answer, HttpRequest};

struct Property {
    /// In answers.
    header: &'static str,
    /// In requests.
    set_by: &'static str,
    /// Whether Put Blob takes it from the request's own header, too.
    is_of_requests: bool,
    /// The parameter of a signature (SAS) that a reader gets it from instead.
    signed: &'static str,
}

pub(super) const SET_BY: &[&str] = &[
    "x-ms-blob-cache-control",
    "x-ms-blob-content-disposition",
    "x-ms-blob-content-encoding",
    "x-ms-blob-content-language",
    "x-ms-blob-content-type",
];

const ALL: [Property; 5] = [
    Property { header: "Cache-Control", set_by: SET_BY[0], is_of_requests: true, signed: "rscc" },
    Property { header: "Content-Disposition", set_by: SET_BY[1], is_of_requests: false, signed: "rscd" },
    Property { header: "Content-Encoding", set_by: SET_BY[2], is_of_requests: true, signed: "rsce" },
    Property { header: "Content-Language", set_by: SET_BY[3], is_of_requests: true, signed: "rscl" },
    Property { header: "Content-Type", set_by: SET_BY[4], is_of_requests: true, signed: "rsct" },
];
const DEFAULT_TYPE: &str = "application/octet-stream";

/// In the order of [`ALL`].
#[derive(Clone, Default)]
pub(super) struct Properties([Option<String>; ALL.len()]);

pub(super) fn signed() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|property| property.signed)
}

impl Properties {
    /// Of a new blob.
    pub(super) fn of_put(request: &HttpRequest) -> Properties {
        Properties(ALL.each_ref().map(|property| {
            let own = || request.header(property.header).filter(|_| property.is_of_requests);
            request.header(property.set_by).or_else(own).map(str::to_owned)
        }))
    }

    /// `None` if the request is about none of them. One that is not named is cleared where another is.
    pub(super) fn of_change(request: &HttpRequest) -> Option<Properties> {
        let set = ALL.each_ref().map(|property| request.header(property.set_by).map(str::to_owned));
        set.iter().any(Option::is_some).then_some(Properties(set))
    }

    pub(super) fn tell(&self, answer: &mut Answer, address: &Address) {
        for (property, stored) in ALL.iter().zip(&self.0) {
            let signed = address.parameter("sig").and_then(|_| address.parameter(property.signed));
            let default = (property.header == "Content-Type").then_some(DEFAULT_TYPE);
            if let Some(value) = signed.or(stored.as_deref()).or(default) {
                answer.set(property.header, value);
            }
        }
    }

    /// As a listing has them, with those that are not kept here.
    pub(super) fn listed(&self) -> [(&'static str, &str); 7] {
        let [cache_control, disposition, encoding, language, content_type] =
            self.0.each_ref().map(|value| value.as_deref().unwrap_or_default());
        let content_type = if content_type.is_empty() { DEFAULT_TYPE } else { content_type };
        [
            ("Content-Type", content_type),
            ("Content-Encoding", encoding),
            ("Content-Language", language),
            ("Content-CRC64", ""),
            ("Content-MD5", ""),
            ("Cache-Control", cache_control),
            ("Content-Disposition", disposition),
        ]
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().flatten().map(String::len).sum()
    }
}
