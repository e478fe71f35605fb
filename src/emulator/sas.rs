//! Shared access signatures: of a [service](https://learn.microsoft.com/rest/api/storageservices/create-service-sas) and
//! of an [account](https://learn.microsoft.com/rest/api/storageservices/create-account-sas).

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::address::Address;
use super::auth::Account;
use super::code::{Code, Refusal};
use super::operation::{Operation, Resource};
use super::version::VERSIONS;

/// Before those that requests may have: from the oldest whose string-to-sign is known here.
const OLD_VERSIONS: [&str; 5] = ["2015-04-05", "2015-07-08", "2015-12-11", "2016-05-31", "2017-04-17"];
const WITH_BREAK_BY_DELETERS: &str = "2017-07-29";
const WITH_RESOURCE: &str = "2018-11-09";
const WITH_ENCRYPTION_SCOPE: &str = "2020-12-06";

/// In the order that the service wants them in.
const PERMISSIONS: &str = "racwdxyltfmeopi";
/// In any order: those that clients and the portal write differ.
const ACCOUNT_PERMISSIONS: &str = "rwdxylacuptfi";
const SERVICES: &str = "bfqt";
const RESOURCE_TYPES: &str = "sco";
const PROTOCOLS: [&str; 2] = ["https", "https,http"];

/// What a signature that is valid allows of the operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Full,
    /// To put a blob where there is none.
    CreateOnly,
}

pub(crate) fn check(
    account: &Account,
    address: &Address,
    operation: Operation,
    date: SystemTime,
    client: IpAddr,
) -> Result<Right, Refusal> {
    let field = |name| address.parameter(name).unwrap_or_default();
    let is_of_account = address.parameter("ss").is_some();
    check_form(address, is_of_account)?;
    let text = if is_of_account {
        of_account(account, address)
    } else if operation.resource() == Resource::Container && field("sr") != "c" {
        return Err(Code::AuthorizationFailure.into());
    } else {
        of_service(account, address)?
    };
    if !account.signed(&text, field("sig")) {
        return Err(Refusal::authentication(format!("Signature did not match. String to sign used was {text}")));
    }
    check_dates(address, date)?;
    check_origin(address, client)?;

    let on = operation.resource();
    if is_of_account {
        if !field("ss").contains('b') {
            return Err(Code::AuthorizationServiceMismatch.into());
        }
        let resource = if on == Resource::Container { 'c' } else { 'o' };
        if !field("srt").contains(resource) {
            return Err(Code::AuthorizationResourceTypeMismatch.into());
        }
    } else if on == Resource::Container && operation != Operation::ListBlobs {
        return Err(Code::AuthorizationFailure.into());
    }
    permitted(operation, field("sp"), field("sv")).ok_or_else(|| Code::AuthorizationPermissionMismatch.into())
}

/// Whether each field is one that can be, by itself.
fn check_form(address: &Address, is_of_account: bool) -> Result<(), Refusal> {
    let refuse = |name, value| Err(Refusal::authentication(format!("{name} is not well formed: {value:?}")));
    let field = |name| address.parameter(name).unwrap_or_default();
    let version = field("sv");
    if !OLD_VERSIONS.contains(&version) && !VERSIONS.contains(&version) {
        let oldest = OLD_VERSIONS[0];
        return Err(Refusal::authentication(format!("sv is mandatory, and a version from {oldest} on here.")));
    }
    if let Some(protocols) = address.parameter("spr")
        && !PROTOCOLS.contains(&protocols)
    {
        return refuse("spr", protocols);
    }
    // A stored access policy, which could have the permissions instead, is refused by its name.
    if !is_of_account {
        let is_without = address.parameter("sp").is_none() && address.parameter("si").is_some();
        let fits = is_without || is_in_order(field("sp"), PERMISSIONS);
        return if fits { Ok(()) } else { refuse("sp", field("sp")) };
    }
    for (name, known) in [("sp", ACCOUNT_PERMISSIONS), ("ss", SERVICES), ("srt", RESOURCE_TYPES)] {
        if !is_some_of(field(name), known) {
            return refuse(name, field(name));
        }
    }
    Ok(())
}

/// Each once at most.
fn is_some_of(letters: &str, known: &str) -> bool {
    let is_first = |(at, letter)| known.contains(letter) && !letters[..at].contains(letter);
    !letters.is_empty() && letters.char_indices().all(is_first)
}

fn is_in_order(letters: &str, known: &str) -> bool {
    is_some_of(letters, known) && letters.chars().map(|letter| known.find(letter)).is_sorted()
}

/// The tables "Specify permissions" of both pages.
fn permitted(operation: Operation, letters: &str, version: &str) -> Option<Right> {
    let any = |wanted: &str| letters.contains(|letter| wanted.contains(letter));
    let enough = match operation {
        Operation::PutBlob if any("c") && !any("w") => return Some(Right::CreateOnly),
        Operation::PutBlob
        | Operation::AcquireLease
        | Operation::RenewLease
        | Operation::ChangeLease
        | Operation::ReleaseLease
        | Operation::SetBlobMetadata
        | Operation::SetBlobProperties => any("w"),
        Operation::CreateContainer => any("cw"),
        Operation::BreakLease => any("w") || (any("d") && version >= WITH_BREAK_BY_DELETERS),
        Operation::GetBlob
        | Operation::GetBlobProperties
        | Operation::GetBlobMetadata
        | Operation::GetContainerProperties => any("r"),
        Operation::ListBlobs => any("l"),
        Operation::DeleteBlob | Operation::DeleteContainer => any("d"),
        Operation::Other => true,
    };
    enough.then_some(Right::Full)
}

pub(crate) fn of_account(account: &Account, address: &Address) -> String {
    let mut lines = vec![account.name()];
    let mut fields = vec!["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"];
    if address.parameter("sv") >= Some(WITH_ENCRYPTION_SCOPE) {
        fields.push("ses");
    }
    lines.extend(fields.into_iter().map(|name| address.parameter(name).unwrap_or_default()));
    lines.push("");
    lines.join("\n")
}

pub(crate) fn of_service(account: &Account, address: &Address) -> Result<String, Refusal> {
    let field = |name| address.parameter(name).unwrap_or_default().to_owned();
    let mut resource = format!("/blob/{}/{}", account.name(), address.container);
    match (address.parameter("sr"), &address.blob) {
        (Some("c"), _) => {}
        (Some("b"), Some(blob)) => {
            resource.push('/');
            resource.push_str(blob);
        }
        _ => return Err(Refusal::authentication("sr is mandatory, and b or c here.")),
    }
    if address.parameter("skoid").is_some() || address.parameter("si").is_some() {
        return Err(Refusal::authentication("There are no user delegation keys and no stored access policies here."));
    }
    let mut lines = vec![field("sp"), field("st"), field("se"), resource];
    lines.extend(["si", "sip", "spr", "sv"].map(field));
    if field("sv").as_str() >= WITH_RESOURCE {
        // Of a snapshot, too, which there are none of.
        lines.extend([field("sr"), String::new()]);
    }
    if field("sv").as_str() >= WITH_ENCRYPTION_SCOPE {
        lines.push(field("ses"));
    }
    lines.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(field));
    Ok(lines.join("\n"))
}

fn check_dates(address: &Address, date: SystemTime) -> Result<(), Refusal> {
    let read = |name| match address.parameter(name) {
        None => Ok(None),
        Some(text) => {
            let refusal = || Refusal::authentication(format!("{name} is not a date: {text:?}"));
            parse_date(text).map(Some).ok_or_else(refusal)
        }
    };
    let starts = read("st")?;
    let ends = read("se")?.ok_or_else(|| Refusal::authentication("se is mandatory."))?;
    if starts.is_some_and(|starts| date < starts) || date >= ends {
        let now = httpdate::fmt_http_date(date);
        return Err(Refusal::authentication(format!("Signature not valid in the specified time frame, now is {now}.")));
    }
    Ok(())
}

fn check_origin(address: &Address, client: IpAddr) -> Result<(), Refusal> {
    if address.parameter("spr").is_some_and(|allowed| allowed.split(',').all(|protocol| protocol != "http")) {
        return Err(Code::AuthorizationProtocolMismatch.into());
    }
    if let Some(range) = address.parameter("sip") {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let is_within = match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&client),
            _ => false,
        };
        if !is_within {
            return Err(Code::AuthorizationSourceIPMismatch.into());
        }
    }
    Ok(())
}

/// `2026-01-02`, `2026-01-02T03:04Z`, `2026-01-02T03:04:05Z`, or with a fraction, which does not count.
pub(crate) fn parse_date(text: &str) -> Option<SystemTime> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, time.strip_suffix('Z')?),
        None => (text, "00:00"),
    };
    let time = match time.split_once('.') {
        Some((time, fraction)) => {
            number(fraction, fraction.len())?;
            time
        }
        None => time,
    };
    let [year, month, date] = parts::<3>(day, '-')?;
    let (year, month, date) = (number(year, 4)?, number(month, 2)?, number(date, 2)?);
    let [hour, minute, second] = parts::<3>(time, ':').or_else(|| {
        let [hour, minute] = parts::<2>(time, ':')?;
        Some([hour, minute, "00"])
    })?;
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);

    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let length = *months.get(month)?;
    if year < 1970 || !(1..=length).contains(&date) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap_days_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let years = (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970);
    let days = years + months[..month].iter().sum::<u64>() + date - 1;
    UNIX_EPOCH.checked_add(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    text.split(separator).collect::<Vec<_>>().try_into().ok()
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let fits = text.len() == digits && (1..=9).contains(&digits) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;

    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    /// The signatures were made by another implementation, and accepted by another server.
    const S1: &str = "sv=2021-12-02&sr=b&sp=racw&se=2099-01-01T00%3A00%3A00Z\
                      &sig=1nT7UzNISgH94V4VQV7o0PMS5ghadJWmIcjNELvJ49I%3D";
    const S2: &str = "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01T00%3A00%3A00Z\
                      &sig=iDXzrPYugxUraQR753UmBCoDr6P5JJS9VTr9MGR8tLg%3D";
    const S3: &str = "sv=2021-12-02&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z\
                      &sig=tznf%2BUguWwNe%2B7oTyobyNUc7TDthIuY2m9EdDOYdBvE%3D";

    fn address(query: &str, path: &str) -> Address {
        let (container, blob) = path.split_once('/').unwrap_or((path, ""));
        let decoded = |text: &str| text.replace("%3A", ":").replace("%3D", "=").replace("%2B", "+");
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Address {
            account: "devstoreaccount1".into(),
            is_path_style: true,
            container: container.into(),
            blob: Some(blob.to_owned()).filter(|blob| !blob.is_empty()),
            query: pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect(),
        }
    }

    fn account() -> Account {
        Account::new("devstoreaccount1", KEY).unwrap()
    }

    fn outcome(query: &str, path: &str, operation: Operation, date: &str) -> Result<Right, Code> {
        let client = Ipv4Addr::LOCALHOST.into();
        check(&account(), &address(query, path), operation, parse_date(date).unwrap(), client)
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn signatures_of_another_implementation_are_accepted() {
        for (sas, path) in [(S1, "locks/job-a"), (S2, "locks/job-a"), (S2, "locks/other"), (S3, "any/thing")] {
            assert_eq!(outcome(sas, path, Operation::RenewLease, "2026-01-01"), Ok(Right::Full), "{path}, {sas}");
        }
        assert_eq!(outcome(S3, "locks", Operation::CreateContainer, "2026-01-01"), Ok(Right::Full));
    }

    #[test]
    fn they_hold_for_what_was_signed_alone() {
        let failed = Err(Code::AuthenticationFailed);
        assert_eq!(outcome(S1, "locks/job-b", Operation::RenewLease, "2026-01-01"), failed);
        assert_eq!(outcome(S2, "other/job-a", Operation::RenewLease, "2026-01-01"), failed);
        assert_eq!(outcome(&S2.replace("racw", "racwd"), "locks/job-a", Operation::RenewLease, "2026-01-01"), failed);
        for sas in [S1, S2, S3] {
            let altered = sas.replace("2021-12-02", "2021-10-04");
            assert_eq!(outcome(&altered, "locks/job-a", Operation::RenewLease, "2026-01-01"), failed);
            assert_eq!(outcome(sas, "locks/job-a", Operation::RenewLease, "2099-01-01"), failed, "over");
        }
    }

    #[test]
    fn a_service_sas_is_for_blobs_and_their_listing_only() {
        let container = |sas, operation| outcome(sas, "locks", operation, "2026-01-01").unwrap_err();
        assert_eq!(container(S1, Operation::CreateContainer), Code::AuthorizationFailure);
        assert_eq!(container(S2, Operation::CreateContainer), Code::AuthorizationFailure);
        assert_eq!(container(S1, Operation::ListBlobs), Code::AuthorizationFailure);
        assert_eq!(container(S2, Operation::ListBlobs), Code::AuthorizationPermissionMismatch);
        assert_eq!(outcome(S3, "locks", Operation::ListBlobs, "2026-01-01"), Ok(Right::Full));
    }

    #[test]
    fn each_operation_needs_its_letters() {
        use Operation::*;
        for (operation, letters) in [
            (CreateContainer, "cw"),
            (GetContainerProperties, "r"),
            (DeleteContainer, "d"),
            (ListBlobs, "l"),
            (GetBlob, "r"),
            (GetBlobProperties, "r"),
            (GetBlobMetadata, "r"),
            (DeleteBlob, "d"),
            (SetBlobMetadata, "w"),
            (SetBlobProperties, "w"),
            (AcquireLease, "w"),
            (RenewLease, "w"),
            (ChangeLease, "w"),
            (ReleaseLease, "w"),
            (BreakLease, "wd"),
        ] {
            for letter in ["r", "a", "c", "w", "d", "l"] {
                let expected = letters.contains(letter).then_some(Right::Full);
                assert_eq!(permitted(operation, letter, "2021-12-02"), expected, "{operation:?}, {letter}");
            }
        }
        assert_eq!(permitted(PutBlob, "c", "2021-12-02"), Some(Right::CreateOnly));
        assert_eq!(permitted(PutBlob, "cw", "2021-12-02"), Some(Right::Full));
        assert_eq!(permitted(PutBlob, "rd", "2021-12-02"), None);
    }

    #[test]
    fn a_right_to_delete_came_to_be_one_to_break() {
        assert_eq!(permitted(Operation::BreakLease, "d", "2017-04-17"), None);
        assert_eq!(permitted(Operation::BreakLease, "w", "2017-04-17"), Some(Right::Full));
        assert_eq!(permitted(Operation::BreakLease, "d", "2017-07-29"), Some(Right::Full));
    }

    /// As if `fields` had been signed.
    fn signed(fields: &str) -> Result<Right, Code> {
        let unsigned = address(&format!("{fields}&se=2099-01-01"), "locks/job");
        let text = match unsigned.parameter("ss") {
            Some(_) => of_account(&account(), &unsigned),
            None => of_service(&account(), &unsigned).unwrap(),
        };
        let mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap().chain_update(text);
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let query = format!("{fields}&se=2099-01-01&sig={}", signature.replace('=', "%3D"));
        outcome(&query, "locks/job", Operation::GetBlob, "2026-01-01")
    }

    #[test]
    fn what_the_service_would_not_have_issued_is_refused_though_signed() {
        for fields in [
            "sv=2021-12-02&sr=c&sp=r",
            "sv=2021-12-02&sr=c&sp=racwdxyltfmeopi",
            "sv=2021-12-02&sr=b&sp=rw&spr=https,http",
            "sv=2015-04-05&sr=b&sp=rw",
            "sv=2026-10-06&sr=b&sp=rw",
            "sv=2021-12-02&ss=b&srt=o&sp=r",
            "sv=2021-12-02&ss=bfqt&srt=sco&sp=rwdlacupiytfx",
            "sv=2021-12-02&ss=tqfb&srt=ocs&sp=xftyipucaldwr&spr=https,http",
        ] {
            assert_eq!(signed(fields), Ok(Right::Full), "{fields}");
        }
        for fields in [
            "sv=2021-12-02&sr=c",
            "sv=2021-12-02&sr=c&sp=",
            "sv=2021-12-02&sr=c&sp=wr",
            "sv=2021-12-02&sr=c&sp=rr",
            "sv=2021-12-02&sr=c&sp=rz",
            "sv=2021-12-02&sr=c&sp=R",
            "sv=2021-12-02&sr=c&sp=r\u{e9}",
            "sv=2021-12-03&sr=c&sp=r",
            "sv=2014-02-14&sr=c&sp=r",
            "sv=9999&sr=c&sp=r",
            "sr=c&sp=r",
            "sv=2021-12-02&sr=c&sp=r&spr=",
            "sv=2021-12-02&sr=c&sp=r&spr=http",
            "sv=2021-12-02&sr=c&sp=r&spr=https,ftp",
            "sv=2021-12-02&ss=b&srt=o",
            "sv=2021-12-02&ss=b&srt=o&sp=rr",
            "sv=2021-12-02&ss=b&srt=o&sp=rm",
            "sv=2021-12-02&ss=bx&srt=o&sp=r",
            "sv=2021-12-02&ss=bb&srt=o&sp=r",
            "sv=2021-12-02&ss=&srt=o&sp=r",
            "sv=2021-12-02&ss=b&sp=r",
            "sv=2021-12-02&ss=b&srt=ox&sp=r",
            "sv=2021-12-02&ss=b&srt=oo&sp=r",
        ] {
            assert_eq!(signed(fields), Err(Code::AuthenticationFailed), "{fields}");
        }
    }

    #[test]
    fn a_signature_may_be_for_some_protocol_and_address() {
        let from = |query: &str| {
            let client = Ipv4Addr::new(127, 0, 0, 5).into();
            check_origin(&address(query, "c/b"), client).map_err(|refusal| refusal.code)
        };
        assert_eq!(from("spr=https"), Err(Code::AuthorizationProtocolMismatch));
        assert_eq!(from("spr=https,http"), Ok(()));
        assert_eq!(from("sip=127.0.0.5"), Ok(()));
        assert_eq!(from("sip=127.0.0.1-127.0.0.9"), Ok(()));
        assert_eq!(from("sip=127.0.0.6-127.0.0.9"), Err(Code::AuthorizationSourceIPMismatch));
        assert_eq!(from("sip=nowhere"), Err(Code::AuthorizationSourceIPMismatch));
    }

    #[test]
    fn dates_are_read_in_every_form() {
        let seconds = |text| parse_date(text).map(|date| date.duration_since(UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds("1970-01-01"), Some(0));
        assert_eq!(seconds("2000-02-29T12:34Z"), Some(951_827_640));
        assert_eq!(seconds("2000-03-01T00:00:00Z"), Some(951_868_800));
        assert_eq!(seconds("2026-11-23T05:44:10Z"), Some(1_795_412_650));
        assert_eq!(seconds("2026-11-23T05:44:10.1234567Z"), Some(1_795_412_650));
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2026-1-1",
            "1969-12-31",
            "2026-11-23T05:44:10",
            "2026-11-23T24:00Z",
            "2026-11-23T05Z",
            "2026-11-23T05:44:10.Z",
            "2026-11-23T+5:44Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn it_is_not_valid_before_its_start() {
        let between = address("st=2026-01-01T00%3A00Z&se=2026-01-02", "c/b");
        let at = |date| check_dates(&between, parse_date(date).unwrap()).is_ok();
        assert!(!at("2025-12-31T23:59:59Z"));
        assert!(at("2026-01-01") && at("2026-01-01T23:59:59Z"));
        assert!(!at("2026-01-02"));
        assert!(check_dates(&address("st=2026-01-01", "c/b"), parse_date("2026-01-01").unwrap()).is_err());
        assert!(check_dates(&address("se=soon", "c/b"), parse_date("2026-01-01").unwrap()).is_err());
    }
}
