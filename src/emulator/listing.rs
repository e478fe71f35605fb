//! [List Blobs](https://learn.microsoft.com/rest/api/storageservices/list-blobs): a page of a container's blobs.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::escaped;
use super::call::Call;
use super::clock::Moment;
use super::code::{Code, Refusal};
use super::http::Answer;
use super::store::{Blob, Container, Content};

/// Of one page, and as many as a request gets that says nothing of it.
const MOST: usize = 5000;
/// From this version on a name with a character that XML does not have is encoded.
const WITH_ENCODED_NAMES: &str = "2021-02-12";
/// What [RFC 2396](https://www.rfc-editor.org/rfc/rfc2396#section-2.3) leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// What a request wants listed.
pub(super) struct Listing<'a> {
    prefix: &'a str,
    /// As it was sent, and the name that the page begins with.
    marker: Option<(&'a str, String)>,
    most: Option<usize>,
    metadata: bool,
}

impl<'a> Listing<'a> {
    pub(super) fn of(call: &'a Call<'_>) -> Result<Listing<'a>, Refusal> {
        let parameter = |name| call.address.parameter(name).filter(|value| !value.is_empty());
        let marker = match parameter("marker") {
            None => None,
            Some(marker) => Some((marker, name_of(marker).ok_or(Code::OutOfRangeInput)?)),
        };
        let most = match parameter("maxresults") {
            None => None,
            Some(text) => match text.parse::<i32>() {
                Err(_) => return Err(Refusal::parameter(Code::InvalidQueryParameterValue, "maxresults", text)),
                Ok(..=0) => return Err(Refusal::parameter(Code::OutOfRangeQueryParameterValue, "maxresults", text)),
                Ok(most) => usize::try_from(most).ok(),
            },
        };
        let include = parameter("include").unwrap_or_default();
        let datasets = || include.split(',').filter(|dataset| !dataset.is_empty());
        if datasets().any(|dataset| dataset != "metadata") {
            return Err(Refusal::parameter(Code::NotImplemented, "include", include));
        }
        let metadata = datasets().next().is_some();
        Ok(Listing { prefix: parameter("prefix").unwrap_or_default(), marker, most, metadata })
    }

    pub(super) fn answer(&self, call: &Call<'_>, container: &Container) -> Answer {
        let mut answer = Answer::new(200, "OK");
        answer.set("Content-Type", "application/xml");
        answer.body = self.page(call, container).into_bytes();
        answer
    }

    fn page(&self, call: &Call<'_>, container: &Container) -> String {
        let from = self.marker.as_ref().map_or("", |(_, name)| name).max(self.prefix);
        let mut blobs = container.blobs(from).take_while(|(name, _)| name.starts_with(self.prefix));

        // The service, too, begins it with a mark that some parsers trip over.
        let mut xml = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults".to_owned();
        let endpoint = call.address.endpoint(call.request.header("host").unwrap_or_default());
        attribute(&mut xml, "ServiceEndpoint", &endpoint);
        attribute(&mut xml, "ContainerName", &call.address.container);
        xml.push('>');
        if !self.prefix.is_empty() {
            element(&mut xml, "Prefix", self.prefix);
        }
        if let Some((marker, _)) = &self.marker {
            element(&mut xml, "Marker", marker);
        }
        if let Some(most) = self.most {
            element(&mut xml, "MaxResults", &most.to_string());
        }
        xml.push_str("<Blobs>");
        for (name, blob) in blobs.by_ref().take(self.most.unwrap_or(MOST).min(MOST)) {
            self.blob(&mut xml, call, name, blob);
        }
        xml.push_str("</Blobs>");
        element(&mut xml, "NextMarker", &blobs.next().map_or_else(String::new, |(name, _)| marker_of(name)));
        xml.push_str("</EnumerationResults>");
        xml
    }

    fn blob(&self, xml: &mut String, call: &Call<'_>, name: &str, blob: &Blob) {
        xml.push_str("<Blob>");
        if name.contains(['\u{fffe}', '\u{ffff}']) && call.version() >= WITH_ENCODED_NAMES {
            let _ = write!(xml, "<Name Encoded=\"true\">{}</Name>", utf8_percent_encode(name, ENCODED));
        } else {
            element(xml, "Name", name);
        }
        properties(xml, call.now, blob);
        if self.metadata {
            if blob.metadata.is_empty() {
                xml.push_str("<Metadata />");
            } else {
                xml.push_str("<Metadata>");
                for (name, value) in &blob.metadata {
                    element(xml, name, value);
                }
                xml.push_str("</Metadata>");
            }
        }
        if matches!(blob.content, Content::Block(_)) {
            xml.push_str("<OrMetadata />");
        }
        xml.push_str("</Blob>");
    }
}

fn properties(xml: &mut String, now: Moment, blob: &Blob) {
    xml.push_str("<Properties>");
    element(xml, "Creation-Time", &httpdate::fmt_http_date(blob.created));
    element(xml, "Last-Modified", &httpdate::fmt_http_date(blob.modified));
    // Without the quotes that it has in a header.
    element(xml, "Etag", blob.etag.trim_matches('"'));
    element(xml, "Content-Length", &blob.content.len().to_string());
    for (name, value) in blob.properties.listed() {
        element(xml, name, value);
    }
    if let Content::Page { sequence_number, .. } = blob.content {
        element(xml, "x-ms-blob-sequence-number", &sequence_number.to_string());
    }
    element(xml, "BlobType", blob.content.blob_type());
    element(xml, "LeaseStatus", blob.lease.status(now));
    element(xml, "LeaseState", blob.lease.state(now));
    if let Some(duration) = blob.lease.duration(now) {
        element(xml, "LeaseDuration", duration);
    }
    element(xml, "ServerEncrypted", "true");
    xml.push_str("</Properties>");
}

fn element(xml: &mut String, name: &str, text: &str) {
    let _ = match text {
        "" => write!(xml, "<{name} />"),
        text => write!(xml, "<{name}>{}</{name}>", escaped(text)),
    };
}

fn attribute(xml: &mut String, name: &str, text: &str) {
    let _ = write!(xml, " {name}=\"{}\"", escaped(text).replace('"', "&quot;"));
}

/// Nothing that a client could make by itself, and not to be put in a URL as it is.
fn marker_of(name: &str) -> String {
    format!("2!{}!{}", name.len(), STANDARD.encode(name))
}

fn name_of(marker: &str) -> Option<String> {
    let (length, encoded) = marker.strip_prefix("2!")?.split_once('!')?;
    let name = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    (length == name.len().to_string()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_nothing_else_is() {
        for name in ["a", "team a/ü?&<>", "\u{ffff}"] {
            assert_eq!(name_of(&marker_of(name)).as_deref(), Some(name));
        }
        for other in ["", "a", "2!1", "2!1!", "2!2!YQ==", "2!+1!YQ==", "2!1!YQ", "2!1!/w==", "1!1!YQ=="] {
            assert_eq!(name_of(other), None, "{other}");
        }
    }

    #[test]
    fn text_cannot_break_out_of_an_element_or_an_attribute() {
        let mut xml = String::new();
        element(&mut xml, "Name", "a<b>&\"c");
        element(&mut xml, "Prefix", "");
        attribute(&mut xml, "ContainerName", "a\"<&");
        assert_eq!(xml, "<Name>a&lt;b&gt;&amp;\"c</Name><Prefix /> ContainerName=\"a&quot;&lt;&amp;\"");
    }
}
