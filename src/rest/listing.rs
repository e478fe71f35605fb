//! [List Blobs](https://learn.microsoft.com/rest/api/storageservices/list-blobs): what a page says.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

use super::answer::lease_state;
use crate::lease::LockState;

/// A longer marker is none: it has to fit into a URL.
const LONGEST_MARKER: usize = 16 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) blobs: Vec<Listed>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<String>,
}

/// A blob that can be locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) state: LockState,
    /// Names are as they are in the service.
    pub(crate) metadata: Vec<(String, String)>,
}

/// Why a text is no page, for a person.
type Wrong = &'static str;

const NOT_XML: Wrong = "is not well-formed XML";
const NO_LIST: Wrong = "is no list of blobs";

/// Reads a page. Whatever is in it that was not asked for is passed over; a text that is no page is refused whole.
pub(crate) fn read(body: &[u8]) -> Result<Page, Wrong> {
    if body.is_empty() {
        return Err("was cut short, or is longer than 16 MiB");
    }
    let text = str::from_utf8(body).map_err(|_| "is not UTF-8")?;
    let mut xml = Xml::of(text.strip_prefix('\u{feff}').unwrap_or(text));
    match xml.outside()? {
        Step::Open(root) if root.name().as_ref() == "EnumerationResults" => {}
        _ => return Err(NO_LIST),
    }
    let mut blobs = None;
    let mut next = None;
    while let Some(child) = xml.child()? {
        match child.name().as_ref() {
            "Blobs" => once(&mut blobs, self::blobs(&mut xml)?)?,
            "NextMarker" => once(&mut next, xml.text()?)?,
            _ => xml.skip()?,
        }
    }
    match xml.outside()? {
        Step::End => {}
        _ => return Err(NOT_XML),
    }
    let next = next.filter(|marker| !marker.is_empty());
    if next.as_ref().is_some_and(|marker| marker.len() > LONGEST_MARKER) {
        return Err("has a marker that is too long");
    }
    Ok(Page { blobs: blobs.ok_or(NO_LIST)?, next })
}

fn blobs(xml: &mut Xml<'_>) -> Result<Vec<Listed>, Wrong> {
    let mut blobs = Vec::new();
    while let Some(child) = xml.child()? {
        match child.name().as_ref() {
            "Blob" => blobs.extend(blob(xml)?),
            _ => xml.skip()?,
        }
    }
    Ok(blobs)
}

/// `None` for what cannot be locked: a directory, a snapshot, or what is deleted already.
fn blob(xml: &mut Xml<'_>) -> Result<Option<Listed>, Wrong> {
    let mut name = None;
    let mut properties = None;
    let mut metadata = None;
    let mut is_no_lock = false;
    while let Some(child) = xml.child()? {
        match child.name().as_ref() {
            "Name" => once(&mut name, self::name(xml, &child)?)?,
            "Properties" => once(&mut properties, self::properties(xml)?)?,
            "Metadata" => once(&mut metadata, self::metadata(xml)?)?,
            "Snapshot" => is_no_lock |= !xml.text()?.is_empty(),
            "Deleted" => is_no_lock |= xml.text()? == "true",
            _ => xml.skip()?,
        }
    }
    let name = name.filter(|name| !name.is_empty()).ok_or("has a blob without a name")?;
    let properties = properties.unwrap_or_default();
    let metadata: Vec<(String, String)> = metadata.unwrap_or_default();
    // What a directory is called by versions of the interface that have no word for it.
    let is_marked = metadata.iter().any(|(name, value)| name.eq_ignore_ascii_case("hdi_isfolder") && value == "true");
    if is_no_lock || is_marked || properties.kind.as_deref() == Some("directory") {
        return Ok(None);
    }
    let state = properties.state().ok_or("has a blob with an unknown state of its lease")?;
    Ok(Some(Listed { name, state, metadata }))
}

/// As it is, unless it has characters that XML does not have: then all of it is percent-encoded.
fn name(xml: &mut Xml<'_>, element: &BytesStart<'_>) -> Result<String, Wrong> {
    let encoded = element.try_get_attribute("Encoded").map_err(|_| NOT_XML)?;
    let text = xml.text()?;
    match encoded.is_some_and(|encoded| encoded.value == "true") {
        false => Ok(text),
        true => match percent_decode_str(&text).decode_utf8() {
            Ok(name) => Ok(name.into_owned()),
            Err(_) => Err("has a name that is not UTF-8"),
        },
    }
}

#[derive(Default)]
struct Properties {
    kind: Option<String>,
    lease_status: Option<String>,
    lease_state: Option<String>,
    lease_duration: Option<String>,
}

impl Properties {
    fn state(&self) -> Option<LockState> {
        match (self.lease_state.as_deref(), self.lease_status.as_deref()) {
            (Some(state), _) => lease_state(state, self.lease_duration.as_deref()),
            // There is nothing to say of a lease that nobody has had yet.
            (None, None | Some("unlocked")) => Some(LockState::Available),
            (None, Some(_)) => None,
        }
    }
}

fn properties(xml: &mut Xml<'_>) -> Result<Properties, Wrong> {
    let mut properties = Properties::default();
    while let Some(child) = xml.child()? {
        let place = match child.name().as_ref() {
            "ResourceType" => &mut properties.kind,
            "LeaseStatus" => &mut properties.lease_status,
            "LeaseState" => &mut properties.lease_state,
            "LeaseDuration" => &mut properties.lease_duration,
            _ => {
                xml.skip()?;
                continue;
            }
        };
        once(place, xml.text()?)?;
    }
    Ok(properties)
}

fn metadata(xml: &mut Xml<'_>) -> Result<Vec<(String, String)>, Wrong> {
    let mut metadata = Vec::new();
    while let Some(child) = xml.child()? {
        match child.name().as_ref() {
            // What is in it is a name that would be none any more.
            "x-ms-invalid-name" => xml.skip()?,
            name => metadata.push((name.to_owned(), xml.text()?)),
        }
    }
    Ok(metadata)
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Wrong> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("says one thing twice"),
    }
}

/// An XML document, element by element. It declares nothing: there is no entity but those of XML itself, so what is
/// read is never longer than the document.
struct Xml<'a> {
    reader: Reader<&'a [u8]>,
}

enum Step<'a> {
    Open(BytesStart<'a>),
    Close,
    Text(Cow<'a, str>),
    End,
}

impl<'a> Xml<'a> {
    fn of(text: &'a str) -> Xml<'a> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Xml { reader }
    }

    /// The next that is anything: an element's begin or end, a text, or the document's end.
    fn step(&mut self) -> Result<Step<'a>, Wrong> {
        loop {
            let step = match self.reader.read_event().map_err(|_| NOT_XML)? {
                Event::Start(start) => Step::Open(start),
                Event::End(_) => Step::Close,
                Event::Text(text) => Step::Text(text.xml10_content()),
                Event::CData(text) => Step::Text(text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let char = reference.resolve_char_ref().map_err(|_| NOT_XML)?;
                    let entity = || resolve_xml_entity(&reference).map(Cow::Borrowed);
                    let text = char.map(|char| Cow::Owned(char.to_string())).or_else(entity);
                    Step::Text(text.ok_or("has an entity that XML does not know")?)
                }
                Event::Eof => Step::End,
                Event::DocType(_) => return Err("declares a document type"),
                Event::Empty(_) => return Err(NOT_XML),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
            };
            return Ok(step);
        }
    }

    /// The next that is not in the root: that itself, or the end.
    fn outside(&mut self) -> Result<Step<'a>, Wrong> {
        loop {
            match self.step()? {
                Step::Text(text) if text.trim().is_empty() => {}
                step => return Ok(step),
            }
        }
    }

    /// The next element in the one that is open; `None` at its end. No text is between elements.
    fn child(&mut self) -> Result<Option<BytesStart<'a>>, Wrong> {
        loop {
            match self.step()? {
                Step::Open(start) => return Ok(Some(start)),
                Step::Close => return Ok(None),
                Step::Text(text) if text.trim().is_empty() => {}
                Step::Text(_) | Step::End => return Err(NOT_XML),
            }
        }
    }

    /// All of the text in the element that is open, to its end. No element is in it.
    fn text(&mut self) -> Result<String, Wrong> {
        let mut whole = String::new();
        loop {
            match self.step()? {
                Step::Text(text) => whole.push_str(&text),
                Step::Close => return Ok(whole),
                Step::Open(_) | Step::End => return Err(NOT_XML),
            }
        }
    }

    /// To the end of the element that is open.
    fn skip(&mut self) -> Result<(), Wrong> {
        let mut open = 1_usize;
        while open > 0 {
            match self.step()? {
                Step::Open(_) => open += 1,
                Step::Close => open -= 1,
                Step::Text(_) => {}
                Step::End => return Err(NOT_XML),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the service answered it, but for the names.
    const RECORDED: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
        ServiceEndpoint=\"https://fake.blob.core.windows.net/\" ContainerName=\"locks\"><Prefix>d</Prefix>\
        <MaxResults>4</MaxResults><Blobs>\
        <Blob><Name Encoded=\"true\">dir1%2Fdir2%2Ffile%EF%BF%BF.blob</Name><Properties>\
        <Creation-Time>Tue, 23 Nov 2021 06:21:13 GMT</Creation-Time>\
        <Last-Modified>Tue, 23 Nov 2021 06:21:13 GMT</Last-Modified><Etag>0x8D9AE4972CEB190</Etag>\
        <Content-Length>0</Content-Length><Content-Type>application/octet-stream</Content-Type><Content-Encoding />\
        <Content-Language /><Content-CRC64 /><Content-MD5>1B2M2Y8AsgTpgAmY7PhCfg==</Content-MD5><Cache-Control />\
        <Content-Disposition /><BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier>\
        <AccessTierInferred>true</AccessTierInferred><LeaseStatus>unlocked</LeaseStatus>\
        <LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties><Metadata />\
        <OrMetadata /></Blob>\
        <Blob><Name>d a&amp;b%2F </Name><Properties><LeaseStatus>locked</LeaseStatus>\
        <LeaseState>leased</LeaseState><LeaseDuration>infinite</LeaseDuration></Properties>\
        <Metadata><BuildId>1 &lt; 2 &#x41;</BuildId><x-ms-invalid-name>a-b</x-ms-invalid-name><e/></Metadata></Blob>\
        <BlobPrefix><Name>dir/</Name></BlobPrefix></Blobs><NextMarker>2!8!ZGlyMw--</NextMarker></EnumerationResults>";

    fn listed(name: &str, state: LockState, metadata: &[(&str, &str)]) -> Listed {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Listed { name: name.to_owned(), state, metadata }
    }

    fn page_of(blobs: &str) -> Result<Page, Wrong> {
        read(format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>").as_bytes())
    }

    fn blob_with(properties: &str) -> Result<Page, Wrong> {
        page_of(&format!("<Blob><Name>job</Name><Properties>{properties}</Properties></Blob>"))
    }

    #[test]
    fn a_page_is_read() {
        let page = read(RECORDED.as_bytes()).unwrap();
        let first = listed("dir1/dir2/file\u{ffff}.blob", LockState::Available, &[]);
        let second = listed("d a&b%2F ", LockState::LeasedForever, &[("BuildId", "1 < 2 A"), ("e", "")]);
        assert_eq!(page, Page { blobs: vec![first, second], next: Some("2!8!ZGlyMw--".to_owned()) });
    }

    #[test]
    fn layout_and_comments_are_nothing() {
        let page = RECORDED.replace("><", ">\r\n  <!-- <Blob> --><?pi <Blob>?><");
        assert_eq!(read(page.as_bytes()), read(RECORDED.as_bytes()));
        assert_eq!(read(b"\n<EnumerationResults>\n<Blobs/>\n</EnumerationResults>\n"), Ok(Page::default()));
    }

    #[test]
    fn each_state_is_known_and_no_other() {
        let lease = |state: &str, duration: &str| format!("<LeaseState>{state}</LeaseState>{duration}");
        for (properties, state) in [
            (lease("available", ""), LockState::Available),
            (lease("leased", "<LeaseDuration>fixed</LeaseDuration>"), LockState::Leased),
            (lease("leased", "<LeaseDuration>infinite</LeaseDuration>"), LockState::LeasedForever),
            (lease("expired", ""), LockState::Expired),
            (lease("breaking", ""), LockState::Breaking),
            (lease("broken", ""), LockState::Broken),
            (String::new(), LockState::Available),
            ("<LeaseStatus>unlocked</LeaseStatus>".to_owned(), LockState::Available),
        ] {
            assert_eq!(blob_with(&properties).unwrap().blobs, [listed("job", state, &[])], "{properties}");
        }
        for properties in [lease("undead", ""), lease("", ""), "<LeaseStatus>locked</LeaseStatus>".to_owned()] {
            assert_eq!(blob_with(&properties), Err("has a blob with an unknown state of its lease"), "{properties}");
        }
    }

    #[test]
    fn what_cannot_be_locked_is_passed_over() {
        for blob in [
            "<Name>d</Name><Properties><ResourceType>directory</ResourceType></Properties>",
            "<Name>d</Name><Metadata><Hdi_IsFolder>true</Hdi_IsFolder></Metadata>",
            "<Name>d</Name><Snapshot>2021-11-23T06:21:13.0000000Z</Snapshot>",
            "<Name>d</Name><Deleted>true</Deleted><Properties><Undeletable>1</Undeletable></Properties>",
        ] {
            assert_eq!(page_of(&format!("<Blob>{blob}</Blob>")).unwrap().blobs, [], "{blob}");
        }
        let file = blob_with("<ResourceType>file</ResourceType>").unwrap();
        assert_eq!(file.blobs, [listed("job", LockState::Available, &[])]);
        let page = "<Name>j</Name><Snapshot/><Deleted>false</Deleted><VersionId>1</VersionId>";
        assert_eq!(page_of(&format!("<Blob>{page}</Blob>")).unwrap().blobs.len(), 1);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]>";
        let deep = "<a>".repeat(100_000);
        for (text, wrong) in [
            (String::new(), "was cut short, or is longer than 16 MiB"),
            ("\u{feff}".into(), NO_LIST),
            ("no XML".into(), NO_LIST),
            ("<html></html>".into(), NO_LIST),
            ("<EnumerationResults/>".into(), NO_LIST),
            ("<EnumerationResults><Blobs/></EnumerationResults><a/>".into(), NOT_XML),
            ("<EnumerationResults><Blobs/></EnumerationResults>a".into(), NOT_XML),
            ("<EnumerationResults><Blobs/><Blobs/></EnumerationResults>".into(), "says one thing twice"),
            (format!("{bomb}{}", &RECORDED[3..]), "declares a document type"),
            (RECORDED.replace("d a", "&b;"), "has an entity that XML does not know"),
            (RECORDED.replace("d a", "&#0;"), NOT_XML),
            (RECORDED.replace("d a", "&#xd800;"), NOT_XML),
            (RECORDED.replace("d a", "&"), NOT_XML),
            (RECORDED.replace("d a", "<b/>"), NOT_XML),
            (RECORDED.replace("%EF%BF%BF", "%EF%BF"), "has a name that is not UTF-8"),
            (RECORDED.replace("<Blobs>", "<Blobs>text"), NOT_XML),
            (RECORDED.replace("</Blob>", "</blob>"), NOT_XML),
            (RECORDED.replace("<Name>d a&amp;b%2F </Name>", ""), "has a blob without a name"),
            (RECORDED.replace("d a&amp;b%2F ", ""), "has a blob without a name"),
            (RECORDED.replace("<BlobPrefix>", &deep), NOT_XML),
            (RECORDED.replace("ZGlyMw--", &"A".repeat(LONGEST_MARKER)), "has a marker that is too long"),
            (RECORDED.replace("Encoded=\"true\"", "Encoded"), NOT_XML),
        ] {
            assert_eq!(read(text.as_bytes()), Err(wrong), "{:.200}", text);
        }
        assert_eq!(read(b"<EnumerationResults>\xff</EnumerationResults>"), Err("is not UTF-8"));
        assert_eq!(read(&RECORDED.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()), Err("is not UTF-8"));
        for end in 0..RECORDED.len() - 1 {
            assert!(read(&RECORDED.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }
}
