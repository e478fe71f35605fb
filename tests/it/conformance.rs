//! One script of requests for every server that claims to be the Blob service: the emulator in the box, Azurite, and a
//! real account if `AZMUTEX_TEST_CONNECTION_STRING` names one.
//!
//! The script says what the service is documented to answer, and says nothing where that is not known for certain.

use std::env;
use std::thread;
use std::time::{Duration, SystemTime};

use azmutex::emulator::Emulator;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::support::azurite::azurite;
use crate::support::skipped::skip;
use crate::support::{http, loud, sas, unique};

const CONNECTION_STRING: &str = "AZMUTEX_TEST_CONNECTION_STRING";
const VERSION: &str = "2021-12-02";
const A: &str = "aaaaaaaa-1111-4222-8333-444444444444";
const B: &str = "bbbbbbbb-1111-4222-8333-444444444444";
const NO_LEASE: &str = "412 LeaseNotPresentWithContainerOperation";
/// More than the shortest lease, and than the service may be late by.
const EXPIRY: Duration = Duration::from_secs(18);

// Scenario 31.
/// What Azurite answers otherwise than the service: the step, its answer, and why that is so.
const AZURITE: &[(&str, &str, &str)] = &[
    ("put with a lease id on no blob", "201", "looks at leases of blobs that exist alone"),
    ("put if there is none on a leased blob", "409 BlobAlreadyExists", "judges the condition before the lease"),
    ("put with a wrong checksum", "400 InvalidOperation", "has no code of its own for it"),
    ("put with what is no checksum", "400 InvalidOperation", "has no code of its own for it"),
    ("delete with snapshots of an unknown sort", "400", PARSER),
    ("put of no type", "400", PARSER),
    ("put of an unknown type", "400", PARSER),
    ("renew without an id", "400", PARSER),
    ("release without an id", "400", PARSER),
    ("change without a proposal", "400", PARSER),
    ("acquire without a duration", "201", "takes it, and cannot read that blob any more"),
    ("acquire under an id that is none", "201", "takes any text for an id"),
    ("renew by another what ran out", "200", "does not look at the id, and revives the lease of the first"),
    ("metadata of no name", "200", "drops it"),
    ("too much metadata", "200", "knows no limit but that of the whole head"),
    ("increment the largest", "200", "counts in floating point"),
    ("an altered signature", "403 AuthorizationFailure", SIGNATURE),
    ("a signature with a raw plus", "403 AuthorizationFailure", SIGNATURE),
    ("a signature that has expired", "403 AuthorizationFailure", SIGNATURE),
    ("a wrong key", "403 AuthorizationFailure", SIGNATURE),
    ("a wrong clock", "200", "does not look at the date"),
    ("put over another with c", "403 AuthorizationPermissionMismatch", "has no word of its own for it"),
    ("create a container with a service SAS", "403 AuthorizationPermissionMismatch", "looks for a right that could do"),
    ("create a deleted container", "201", "deletes at once"),
    ("list none", "400", PARSER),
    ("list less than none", "400", PARSER),
    ("list a word of them", "400", PARSER),
    ("list from where nobody said", "200", "takes any name for a marker"),
];
/// What the emulator in the box does not do, and says so.
const EMULATOR: &[(&str, &str, &str)] = &[
    ("put with the checksum", "501 NotImplemented", CHECKSUM),
    ("put with a wrong checksum", "501 NotImplemented", CHECKSUM),
    ("put with what is no checksum", "501 NotImplemented", CHECKSUM),
    ("copy from nowhere", "501 NotImplemented", "copies nothing"),
    ("look under a condition on tags", "501 NotImplemented", "knows no tags"),
    ("list what nobody knows", "501 NotImplemented", "lists metadata besides, and does not look what else there is"),
    ("list by a delimiter", "501 NotImplemented", "lists names as they are"),
    ("list snapshots", "501 NotImplemented", "has none"),
];
const CHECKSUM: &str = "computes none";
const PARSER: &str = "refuses it as it takes the request apart, without a code";
const SIGNATURE: &str = "has one code for whatever was not signed as it should be";

#[derive(Clone)]
struct Step {
    name: String,
    method: &'static str,
    /// In the container; it begins with the blob's name, or with a question mark.
    path: String,
    headers: Vec<(&'static str, String)>,
    auth: Auth,
    /// Before the request.
    wait: Duration,
    /// The status and the code; `*` for a code that is not known.
    expected: &'static str,
}

#[derive(Copy, Clone)]
enum Auth {
    Full,
    /// Altered after it was signed.
    Tampered,
    Expired,
    /// Decoded on its way.
    RawPlus,
    Container(&'static str),
    Account {
        permissions: &'static str,
        types: &'static str,
    },
    WrongKey,
    /// The right key, at a wrong time.
    Skewed,
}

fn step(name: &str, method: &'static str, path: &str, expected: &'static str) -> Step {
    let (name, path) = (name.to_owned(), path.to_owned());
    Step { name, method, path, headers: Vec::new(), auth: Auth::Full, wait: Duration::ZERO, expected }
}

fn lease(name: &str, action: &str, blob: &str, expected: &'static str) -> Step {
    step(name, "PUT", &format!("{blob}?comp=lease"), expected).with("x-ms-lease-action", action)
}

fn acquire(name: &str, blob: &str, id: &str, seconds: &str, expected: &'static str) -> Step {
    lease(name, "acquire", blob, expected).with("x-ms-lease-duration", seconds).with("x-ms-proposed-lease-id", id)
}

fn with_id(name: &str, action: &str, blob: &str, id: &str, expected: &'static str) -> Step {
    lease(name, action, blob, expected).with("x-ms-lease-id", id)
}

fn change(name: &str, blob: &str, from: &str, to: &str, expected: &'static str) -> Step {
    with_id(name, "change", blob, from, expected).with("x-ms-proposed-lease-id", to)
}

fn put(name: &str, blob: &str, expected: &'static str) -> Step {
    step(name, "PUT", blob, expected).with("x-ms-blob-type", "BlockBlob")
}

fn set_metadata(name: &str, blob: &str, expected: &'static str) -> Step {
    step(name, "PUT", &format!("{blob}?comp=metadata"), expected)
}

fn sequence(name: &str, blob: &str, action: &str, expected: &'static str) -> Step {
    step(name, "PUT", &format!("{blob}?comp=properties"), expected).with("x-ms-sequence-number-action", action)
}

impl Step {
    fn with(mut self, header: &'static str, value: &str) -> Step {
        self.headers.push((header, value.to_owned()));
        self
    }

    fn id(self, id: &str) -> Step {
        self.with("x-ms-lease-id", id)
    }

    fn by(mut self, auth: Auth) -> Step {
        self.auth = auth;
        self
    }

    fn after(mut self, wait: Duration) -> Step {
        self.wait = wait;
        self
    }
}

fn script() -> Vec<Step> {
    let mut script = vec![
        step("a blob in no container", "HEAD", "job", "404 ContainerNotFound"),
        put("put a blob in no container", "job", "404 ContainerNotFound"),
        acquire("acquire in no container", "job", A, "15", "404 ContainerNotFound"),
        step("list no container", "GET", "?restype=container&comp=list", "404 ContainerNotFound"),
        step("create the container", "PUT", "?restype=container", "201"),
        step("create the container again", "PUT", "?restype=container", "409 ContainerAlreadyExists"),
        step("the container's properties", "HEAD", "?restype=container", "200"),
        step("a version that there is not", "HEAD", "job", "400 InvalidHeaderValue").with("x-ms-version", "2021-12-03"),
    ];
    script.extend(blobs());
    script.extend(listings());
    script.extend(beside_locks());
    script.extend(leased());
    script.extend(breaking_and_broken());
    script.extend(available());
    script.extend(expired());
    script.extend(pages());
    script.extend(signatures());
    script.extend([
        acquire("acquire before the container goes", "job", A, "15", "201"),
        step("the container's properties with an id", "HEAD", "?restype=container", NO_LEASE).id(A),
        step("delete the container with an id", "DELETE", "?restype=container", NO_LEASE).id(A),
        step("delete the container", "DELETE", "?restype=container", "202"),
        step("list a deleted container", "GET", "?restype=container&comp=list", "404 *"),
        step("a blob in a deleted container", "HEAD", "job", "404 *"),
        step("create a deleted container", "PUT", "?restype=container", "409 ContainerBeingDeleted"),
    ]);
    script
}

fn blobs() -> Vec<Step> {
    vec![
        step("no blob", "HEAD", "job", "404 BlobNotFound"),
        acquire("acquire on no blob", "job", A, "15", "404 BlobNotFound"),
        step("delete no blob", "DELETE", "job", "404 BlobNotFound"),
        set_metadata("metadata of no blob", "job", "404 BlobNotFound"),
        put("put with a lease id on no blob", "none", "412 *").id(A),
        put("put if there is none", "job", "201").with("if-none-match", "*"),
        put("put if there is none, and there is", "job", "409 BlobAlreadyExists").with("if-none-match", "*"),
        put("put unless changed", "job", "412 ConditionNotMet").with("if-match", "\"0x0\""),
        step("put of no type", "PUT", "typeless", "400 MissingRequiredHeader"),
        step("put of an unknown type", "PUT", "typeless", "400 InvalidHeaderValue").with("x-ms-blob-type", "Blob"),
        step("an append blob", "PUT", "append", "201").with("x-ms-blob-type", "AppendBlob"),
        step("a blob that is not newer", "HEAD", "job", "304 *")
            .with("if-modified-since", &http::http_date(SystemTime::now() + Duration::from_secs(3600))),
        step("get if it matches", "GET", "job", "412 ConditionNotMet").with("if-match", "\"0x0\""),
        set_metadata("metadata", "job", "200").with("x-ms-meta-owner", "me"),
        set_metadata("metadata of a bad name", "job", "400 InvalidMetadata").with("x-ms-meta-a-b", "v"),
        set_metadata("metadata of no name", "job", "400 EmptyMetadataKey").with("x-ms-meta-", "v"),
        set_metadata("too much metadata", "job", "400 MetadataTooLarge").with("x-ms-meta-a", &"v".repeat(9000)),
        set_metadata("metadata unless changed", "job", "412 ConditionNotMet").with("if-match", "\"0x0\""),
    ]
}

/// What locks do not use, and a server may be asked for all the same.
fn beside_locks() -> Vec<Step> {
    let sum = |name, sum, expected| put(name, "sum", expected).with("content-md5", sum);
    vec![
        sum("put with a wrong checksum", "AAAAAAAAAAAAAAAAAAAAAA==", "400 Md5Mismatch"),
        sum("put with what is no checksum", "AAAA", "400 InvalidMd5"),
        step("look at what was not put", "HEAD", "sum", "404 BlobNotFound"),
        sum("put with the checksum", "1B2M2Y8AsgTpgAmY7PhCfg==", "201"),
        step("copy from nowhere", "PUT", "copy", "400 InvalidHeaderValue").with("x-ms-copy-source", "nowhere"),
        step("look at what was not copied", "HEAD", "copy", "404 BlobNotFound"),
        step("look under a condition on tags", "HEAD", "job", "412 ConditionNotMet")
            .with("x-ms-if-tags", "\"owner\" = 'me'")
            .by(Auth::Account { permissions: "rt", types: "o" }),
        put("put of HTTP headers", "headers", "201").with("x-ms-blob-cache-control", "no-store"),
        step("properties of HTTP headers", "PUT", "headers?comp=properties", "200")
            .with("x-ms-blob-content-type", "text/plain"),
        step("delete with snapshots of an unknown sort", "DELETE", "headers", "400 InvalidHeaderValue")
            .with("x-ms-delete-snapshots", "all"),
        step("delete with snapshots", "DELETE", "headers", "202").with("x-ms-delete-snapshots", "include"),
    ]
}

fn leased() -> Vec<Step> {
    let mut steps = vec![
        acquire("acquire for 14 s", "job", A, "14", "400 InvalidHeaderValue"),
        acquire("acquire for 61 s", "job", A, "61", "400 InvalidHeaderValue"),
        acquire("acquire for 0 s", "job", A, "0", "400 InvalidHeaderValue"),
        acquire("acquire for -2 s", "job", A, "-2", "400 InvalidHeaderValue"),
        put("put for an id that is none", "guid", "201"),
        acquire("acquire under an id that is none", "guid", "me", "15", "400 InvalidHeaderValue"),
        acquire("acquire", "job", A, "15", "201"),
        acquire("acquire again, for longer", "job", A, "60", "201"),
        acquire("acquire what another has", "job", B, "15", "409 LeaseAlreadyPresent"),
        lease("acquire what another has, without an id", "acquire", "job", "409 LeaseAlreadyPresent")
            .with("x-ms-lease-duration", "15"),
        with_id("renew", "renew", "job", A, "200"),
        with_id("renew what another has", "renew", "job", B, "409 LeaseIdMismatchWithLeaseOperation"),
        with_id("release what another has", "release", "job", B, "409 LeaseIdMismatchWithLeaseOperation"),
        lease("renew without an id", "renew", "job", "400 MissingRequiredHeader"),
        lease("release without an id", "release", "job", "400 MissingRequiredHeader"),
        with_id("change without a proposal", "change", "job", A, "400 MissingRequiredHeader"),
        change("change", "job", A, B, "200"),
        change("change again", "job", A, B, "200"),
        change("change back", "job", B, A, "200"),
        with_id("renew if it matches", "renew", "job", A, "412 ConditionNotMet").with("if-match", "\"0x0\""),
        put("put if there is none on a leased blob", "job", "412 LeaseIdMissing").with("if-none-match", "*"),
        put("put with the id", "job", "201").id(A),
    ];
    let write = |name: &str, expected: [&'static str; 3], make: &dyn Fn(&str, &'static str) -> Step| {
        vec![
            make(&format!("{name} without the id"), expected[0]),
            make(&format!("{name} with another id"), expected[1]).id(B),
            make(&format!("{name} with the id"), expected[2]).id(A),
        ]
    };
    let refused = ["412 LeaseIdMissing", "412 LeaseIdMismatchWithBlobOperation"];
    let read = ["200", "412 LeaseIdMismatchWithBlobOperation", "200"];
    steps.extend(write("put on a leased blob", [refused[0], refused[1], "201"], &|name, expected| {
        put(name, "job", expected)
    }));
    steps.extend(write("metadata of a leased blob", [refused[0], refused[1], "200"], &|name, expected| {
        set_metadata(name, "job", expected)
    }));
    steps.extend(write("look at a leased blob", read, &|name, expected| step(name, "HEAD", "job", expected)));
    steps.extend(write("get a leased blob", read, &|name, expected| step(name, "GET", "job", expected)));
    steps.extend([
        step("delete a leased blob without the id", "DELETE", "job", refused[0]),
        step("delete a leased blob with another id", "DELETE", "job", refused[1]).id(B),
        put("put for a lease without a duration", "endless", "201"),
        lease("acquire without a duration", "acquire", "endless", "400 MissingRequiredHeader"),
    ]);
    steps
}

fn breaking_and_broken() -> Vec<Step> {
    vec![
        lease("break within 61 s", "break", "job", "400 InvalidHeaderValue").with("x-ms-lease-break-period", "61"),
        lease("break within -1 s", "break", "job", "400 InvalidHeaderValue").with("x-ms-lease-break-period", "-1"),
        lease("break", "break", "job", "202"),
        lease("break again, within 50 s", "break", "job", "202").with("x-ms-lease-break-period", "50"),
        acquire("acquire while breaking", "job", A, "15", "409 LeaseIsBreakingAndCannotBeAcquired"),
        acquire("acquire by another while breaking", "job", B, "15", "409 LeaseAlreadyPresent"),
        with_id("renew while breaking", "renew", "job", A, "409 LeaseIsBrokenAndCannotBeRenewed"),
        with_id("renew by another while breaking", "renew", "job", B, "409 LeaseIdMismatchWithLeaseOperation"),
        change("change while breaking", "job", A, B, "409 LeaseIsBreakingAndCannotBeChanged"),
        with_id("release by another while breaking", "release", "job", B, "409 LeaseIdMismatchWithLeaseOperation"),
        set_metadata("metadata without the id while breaking", "job", "412 LeaseIdMissing"),
        set_metadata("metadata with the id while breaking", "job", "200").id(A),
        lease("break at once", "break", "job", "202").with("x-ms-lease-break-period", "0"),
        with_id("renew what is broken", "renew", "job", A, "409 LeaseIsBrokenAndCannotBeRenewed"),
        with_id("renew by another what is broken", "renew", "job", B, "409 LeaseIdMismatchWithLeaseOperation"),
        change("change what is broken", "job", A, B, "409 LeaseNotPresentWithLeaseOperation"),
        lease("break what is broken", "break", "job", "202"),
        set_metadata("metadata with the id of what is broken", "job", "412 *").id(A),
        with_id("release by another what is broken", "release", "job", B, "409 LeaseIdMismatchWithLeaseOperation"),
        with_id("release what is broken", "release", "job", A, "200"),
    ]
}

fn available() -> Vec<Step> {
    vec![
        with_id("release what is free", "release", "job", A, "409 LeaseIdMismatchWithLeaseOperation"),
        with_id("renew what is free", "renew", "job", A, "409 LeaseIdMismatchWithLeaseOperation"),
        change("change what is free", "job", A, B, "409 LeaseNotPresentWithLeaseOperation"),
        lease("break what is free", "break", "job", "409 LeaseNotPresentWithLeaseOperation"),
        put("put with an id on a free blob", "job", "412 LeaseNotPresentWithBlobOperation").id(A),
        set_metadata("metadata with an id of a free blob", "job", "412 LeaseNotPresentWithBlobOperation").id(A),
        step("look with an id at a free blob", "HEAD", "job", "412 LeaseNotPresentWithBlobOperation").id(A),
        put("put for an infinite lease", "infinite", "201"),
        acquire("acquire for ever", "infinite", A, "-1", "201"),
        with_id("renew what has no end", "renew", "infinite", A, "200"),
        lease("break what has no end", "break", "infinite", "202"),
        acquire("acquire what was broken", "infinite", B, "15", "201"),
        with_id("renew by the first", "renew", "infinite", A, "409 LeaseIdMismatchWithLeaseOperation"),
        with_id("release by the first", "release", "infinite", A, "409 LeaseIdMismatchWithLeaseOperation"),
        step("delete with the id", "DELETE", "infinite", "202").id(B),
        step("delete again", "DELETE", "infinite", "404 BlobNotFound").id(B),
    ]
}

fn expired() -> Vec<Step> {
    let blobs = ["e-renew", "e-release", "e-write", "e-put", "e-take", "e-break", "e-delete", "e-change"];
    let mut steps = Vec::new();
    for blob in blobs {
        steps.push(put(&format!("put {blob}"), blob, "201"));
        steps.push(acquire(&format!("acquire {blob}"), blob, A, "15", "201"));
    }
    let mismatch = "409 LeaseIdMismatchWithLeaseOperation";
    steps.extend([
        with_id("renew by another what ran out", "renew", "e-renew", B, mismatch).after(EXPIRY),
        with_id("renew what ran out", "renew", "e-renew", A, "200"),
        with_id("release by another what ran out", "release", "e-release", B, mismatch),
        with_id("release what ran out", "release", "e-release", A, "200"),
        with_id("release again what ran out", "release", "e-release", A, mismatch),
        step("look with the id at what ran out", "HEAD", "e-write", "412 *").id(A),
        set_metadata("metadata with the id of what ran out", "e-write", "412 *").id(A),
        set_metadata("metadata of what ran out", "e-write", "200"),
        with_id("renew what was written to", "renew", "e-write", A, mismatch),
        put("put on what ran out", "e-put", "201"),
        with_id("renew what was put", "renew", "e-put", A, mismatch),
        acquire("acquire what ran out", "e-take", B, "15", "201"),
        with_id("renew what was taken", "renew", "e-take", A, mismatch),
        with_id("release what was taken", "release", "e-take", A, mismatch),
        lease("break what ran out", "break", "e-break", "202"),
        with_id("renew what ran out and was broken", "renew", "e-break", A, "409 LeaseIsBrokenAndCannotBeRenewed"),
        step("delete with the id what ran out", "DELETE", "e-delete", "412 *").id(A),
        step("delete what ran out", "DELETE", "e-delete", "202"),
        change("change what ran out", "e-change", A, B, "409 *"),
    ]);
    steps
}

fn listings() -> Vec<Step> {
    let list =
        |name: &str, more: &str, expected| step(name, "GET", &format!("?restype=container&comp=list{more}"), expected);
    let (mismatch, full) = ("403 AuthorizationPermissionMismatch", "&prefix=j&maxresults=2&include=metadata&marker=");
    vec![
        list("list", "", "200"),
        list("list by a prefix in pages with metadata", full, "200"),
        list("list at most 5001", "&maxresults=5001", "200"),
        list("list none", "&maxresults=0", "400 OutOfRangeQueryParameterValue"),
        list("list less than none", "&maxresults=-1", "400 OutOfRangeQueryParameterValue"),
        list("list a word of them", "&maxresults=all", "400 InvalidQueryParameterValue"),
        list("list from where nobody said", "&marker=nowhere", "400 *"),
        list("list what nobody knows", "&include=secrets", "400 *"),
        list("list by a delimiter", "&delimiter=%2F", "200"),
        list("list snapshots", "&include=snapshots", "200"),
        list("list with the container's l", "", "200").by(Auth::Container("l")),
        list("list with the container's rcwd", "", mismatch).by(Auth::Container("rcwd")),
        list("list with an account's l", "", "200").by(Auth::Account { permissions: "l", types: "c" }),
        list("list with an account's rwd", "", mismatch).by(Auth::Account { permissions: "rwd", types: "c" }),
        list("list with objects' l", "", "403 AuthorizationResourceTypeMismatch")
            .by(Auth::Account { permissions: "l", types: "o" }),
    ]
}

fn pages() -> Vec<Step> {
    let create = |name: &str, length: &str, expected| {
        step(name, "PUT", "page", expected)
            .with("x-ms-blob-type", "PageBlob")
            .with("x-ms-blob-content-length", length)
            .with("if-none-match", "*")
    };
    let number = |step: Step, number: &str| step.with("x-ms-blob-sequence-number", number);
    vec![
        create("a page blob of half a page", "256", "400 *"),
        number(create("a page blob", "0", "201"), "5"),
        sequence("increment", "page", "increment", "200"),
        number(sequence("increment by a number", "page", "increment", "400 *"), "7"),
        sequence("update to nothing", "page", "update", "400 *"),
        number(sequence("max", "page", "max", "200"), "3"),
        acquire("acquire the page blob", "page", A, "15", "201"),
        sequence("increment without the id", "page", "increment", "412 LeaseIdMissing"),
        sequence("increment with another id", "page", "increment", "412 LeaseIdMismatchWithBlobOperation").id(B),
        sequence("increment with the id", "page", "increment", "200").id(A),
        number(sequence("update to the largest", "page", "update", "200"), "9223372036854775807").id(A),
        sequence("increment the largest", "page", "increment", "409 SequenceNumberIncrementTooLarge").id(A),
    ]
}

fn signatures() -> Vec<Step> {
    let failed = "403 AuthenticationFailed";
    let mismatch = "403 AuthorizationPermissionMismatch";
    let create = |name| put(name, "job", "403 UnauthorizedBlobOverwrite");
    vec![
        step("an altered signature", "HEAD", "job", failed).by(Auth::Tampered),
        step("a signature that has expired", "HEAD", "job", failed).by(Auth::Expired),
        step("a signature with a raw plus", "HEAD", "job", failed).by(Auth::RawPlus),
        step("a wrong key", "HEAD", "job", failed).by(Auth::WrongKey),
        step("a wrong clock", "HEAD", "job", failed).by(Auth::Skewed),
        step("look with r", "HEAD", "job", "200").by(Auth::Container("r")),
        step("look with w", "HEAD", "job", mismatch).by(Auth::Container("w")),
        acquire("acquire with r", "job", A, "15", mismatch).by(Auth::Container("r")),
        acquire("acquire with rcd", "job", A, "15", mismatch).by(Auth::Container("rcd")),
        acquire("acquire with w", "job", A, "15", "201").by(Auth::Container("w")),
        with_id("renew with w", "renew", "job", A, "200").by(Auth::Container("w")),
        lease("break with r", "break", "job", mismatch).by(Auth::Container("r")),
        lease("break with d", "break", "job", "202").by(Auth::Container("d")),
        with_id("release with w", "release", "job", A, "200").by(Auth::Container("w")),
        set_metadata("metadata with rcd", "job", mismatch).by(Auth::Container("rcd")),
        set_metadata("metadata with w", "job", "200").by(Auth::Container("w")),
        step("delete with w", "DELETE", "job", mismatch).by(Auth::Container("w")),
        put("put a new one with c", "c", "201").by(Auth::Container("c")),
        put("put a new one with w", "w", "201").by(Auth::Container("w")),
        put("put with r", "r", mismatch).by(Auth::Container("r")),
        create("put over another with c").by(Auth::Container("c")),
        step("create a container with a service SAS", "PUT", "?restype=container", "403 AuthorizationFailure")
            .by(Auth::Container("rcw")),
        step(
            "create a container with objects' rights",
            "PUT",
            "?restype=container",
            "403 AuthorizationResourceTypeMismatch",
        )
        .by(Auth::Account { permissions: "rwdlac", types: "o" }),
        step("look with an account's r", "HEAD", "job", "200").by(Auth::Account { permissions: "r", types: "o" }),
        acquire("acquire with an account's r", "job", A, "15", mismatch)
            .by(Auth::Account { permissions: "r", types: "o" }),
    ]
}

struct Server {
    account: String,
    key: String,
    /// Of the account.
    url: String,
    container: String,
}

impl Server {
    fn url_of(&self, path: &str) -> String {
        let separator = if path.is_empty() || path.starts_with('?') { "" } else { "/" };
        format!("{}/{}{separator}{path}", self.url, self.container)
    }

    /// The query that signs a request, or the headers.
    fn sign(&self, step: &Step) -> (String, Vec<(&'static str, String)>) {
        let (account, key) = (&*self.account, &*self.key);
        let sas = match step.auth {
            Auth::Full => sas::full(account, key),
            Auth::Tampered => sas::full(account, key).replace("2099", "2098"),
            Auth::RawPlus => sas::with_plus(account, key).replace("%2B", "+"),
            Auth::Expired => sas::of_account(account, key, "rwdlac", "sco", "2024-01-01T00:00:00Z"),
            Auth::Container(permissions) => sas::of_container(account, key, &self.container, permissions, sas::FAR),
            Auth::Account { permissions, types } => sas::of_account(account, key, permissions, types, sas::FAR),
            Auth::WrongKey | Auth::Skewed => {
                let late =
                    if matches!(step.auth, Auth::Skewed) { Duration::from_secs(16 * 60) } else { Duration::ZERO };
                let date = http::http_date(SystemTime::now() - late);
                let url = self.url_of(&step.path);
                let (_, rest) = url.split_once("://").unwrap();
                let path = &rest[rest.find('/').unwrap()..];
                // Only what has neither conditions nor a query.
                let text = format!(
                    "{}{}x-ms-date:{date}\nx-ms-version:{VERSION}\n/{account}{path}",
                    step.method,
                    "\n".repeat(12)
                );
                let mut key = STANDARD.decode(key).unwrap();
                if matches!(step.auth, Auth::WrongKey) {
                    key[0] ^= 1;
                }
                let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(text);
                let signature = STANDARD.encode(mac.finalize().into_bytes());
                let authorization = format!("SharedKey {account}:{signature}");
                return (String::new(), vec![("x-ms-date", date), ("authorization", authorization)]);
            }
        };
        (sas, Vec::new())
    }

    fn answer(&self, step: &Step) -> String {
        let (query, mut headers) = self.sign(step);
        headers.extend(step.headers.iter().cloned());
        if headers.iter().all(|(name, _)| *name != "x-ms-version") {
            headers.push(("x-ms-version", VERSION.to_owned()));
        }
        let url = self.url_of(&step.path);
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = if query.is_empty() { url } else { format!("{url}{separator}{query}") };
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let (status, code) = match url.strip_prefix("http://127.0.0.1:") {
            Some(rest) => {
                let (port, target) = rest.split_at(rest.find('/').unwrap());
                let response = http::exchange(port.parse().unwrap(), step.method, target, &headers, b"").unwrap();
                (response.status, response.code().map(str::to_owned))
            }
            None => over_tls(step.method, &url, &headers),
        };
        match code {
            Some(code) => format!("{status} {code}"),
            None => status.to_string(),
        }
    }

    fn run(&self, wait: impl Fn(Duration)) -> Vec<(Step, String)> {
        let run = |step: Step| {
            if !step.wait.is_zero() {
                wait(step.wait);
            }
            let answer = self.answer(&step);
            (step, answer)
        };
        script().into_iter().map(run).collect()
    }
}

fn over_tls(method: &str, url: &str, headers: &[(&str, &str)]) -> (u16, Option<String>) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    let agent = config.timeout_global(Some(Duration::from_secs(30))).build().new_agent();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = match method {
        "PUT" => agent.run(request.body(Vec::<u8>::new()).unwrap()),
        _ => agent.run(request.body(()).unwrap()),
    };
    let response = response.unwrap();
    let code = response.headers().get("x-ms-error-code").map(|code| code.to_str().unwrap().to_owned());
    (response.status().as_u16(), code)
}

fn agrees(answer: &str, expected: &str) -> bool {
    match expected.strip_suffix(" *") {
        Some(status) => answer.split(' ').next() == Some(status),
        None => answer == expected,
    }
}

/// The steps whose answer is not the service's.
fn differences(outcome: &[(Step, String)]) -> Vec<(&str, &str, &str)> {
    let differs = outcome.iter().filter(|(step, answer)| !agrees(answer, step.expected));
    differs.map(|(step, answer)| (&*step.name, &**answer, step.expected)).collect()
}

/// In what is listed alone, and in all of that.
fn assert_differs(outcome: &[(Step, String)], list: &[(&str, &str, &str)]) {
    let differences = differences(outcome);
    let listed = |name: &str, answer: &str| list.iter().any(|known| (known.0, known.1) == (name, answer));
    let unlisted: Vec<_> = differences.iter().filter(|(name, answer, _)| !listed(name, answer)).collect();
    assert!(unlisted.is_empty(), "differences that are not listed: {unlisted:#?}");
    let occurs = |name: &str, answer: &str| differences.iter().any(|found| (found.0, found.1) == (name, answer));
    let stale: Vec<_> = list.iter().filter(|(name, answer, _)| !occurs(name, answer)).collect();
    assert!(stale.is_empty(), "listed, and not so any more: {stale:#?}");
}

#[test]
fn steps_have_names_of_their_own() {
    let mut names: Vec<_> = script().into_iter().map(|step| step.name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(AZURITE.iter().chain(EMULATOR).all(|(name, _, _)| names.iter().any(|other| other == name)));
}

#[test]
fn the_emulator_answers_as_the_service_does_or_says_that_it_cannot() {
    let emulator = Emulator::start().unwrap();
    let (account, key) = (sas::ACCOUNT.to_owned(), sas::KEY.to_owned());
    let server = Server { account, key, url: emulator.url(), container: unique("conformance") };
    assert_differs(&server.run(|time| emulator.advance(time)), EMULATOR);
}

#[test]
fn azurite_answers_as_the_service_does_but_for_what_is_known() {
    let Some(azurite) = azurite() else { return };
    let url = format!("http://127.0.0.1:{}/{}", azurite.port(), sas::ACCOUNT);
    let (account, key) = (sas::ACCOUNT.to_owned(), sas::KEY.to_owned());
    let server = Server { account, key, url, container: unique("conformance") };
    assert_differs(&server.run(thread::sleep), AZURITE);
}

#[test]
fn a_real_account_answers_as_the_service_is_documented_to() {
    let Ok(text) = env::var(CONNECTION_STRING) else {
        return skip(&format!("{CONNECTION_STRING} names no account"));
    };
    let field = |wanted: &str| {
        let fields = text.split(';').filter_map(|pair| pair.split_once('='));
        fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
    };
    let account = field("AccountName").expect("an account's name");
    let key = field("AccountKey").expect("an account's key");
    let suffix = field("EndpointSuffix").unwrap_or_else(|| "core.windows.net".to_owned());
    let url = field("BlobEndpoint").unwrap_or_else(|| format!("https://{account}.blob.{suffix}"));
    let url = url.trim_end_matches('/').to_owned();
    let server = Server { account, key, url, container: unique("conformance") };
    loud(&format!("conformance: {} steps on the account {}", script().len(), server.account));
    assert_eq!(differences(&server.run(thread::sleep)), []);
}
