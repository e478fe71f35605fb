//! Where the locks are: what the command line says, else the variables of this program, else those of the Azure CLI.

use std::path::{Path, PathBuf};
use std::{env, fs};

use azmutex::container::Builder;
use azmutex::credential::Credential;
#[cfg(feature = "emulator")]
use azmutex::emulator::Emulator;
use azmutex::retry::Policy;
use azmutex::{Container, ErrorKind};

use crate::arguments::Place;
use crate::exit::{CONFIGURATION, Failure, USAGE};

const DEFAULT_CONTAINER: &str = "locks";

pub(crate) struct Store {
    pub(crate) container: Container,
    /// It stops when it is dropped.
    #[cfg(feature = "emulator")]
    _emulator: Option<Emulator>,
}

impl Store {
    /// Talks to nobody.
    pub(crate) fn open(place: &Place, policy: Policy) -> Result<Store, Failure> {
        if place.emulator {
            return Store::emulator(place, policy);
        }
        let container = build(&Chosen::of(place, variable)?, policy)?;
        Ok(Store {
            container,
            #[cfg(feature = "emulator")]
            _emulator: None,
        })
    }
}

/// One that is empty counts as absent.
fn variable(name: &str) -> Option<String> {
    env::var(format!("AZMUTEX_{name}")).ok().filter(|value| !value.is_empty())
}

/// What is left when the command line has been put before the environment.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    at: At,
    sas_file: Option<PathBuf>,
    container: Option<String>,
    allow_http: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum At {
    ConnectionString(PathBuf),
    Account(String),
    Url(String),
    /// As the Azure CLI's variables say.
    Environment,
}

impl Chosen {
    fn of(place: &Place, variable: impl Fn(&str) -> Option<String>) -> Result<Chosen, Failure> {
        let said = one([
            ("--connection-string-file", place.connection_string_file.clone().map(At::ConnectionString)),
            ("--account", place.account.clone().map(At::Account)),
            ("--container-url", place.container_url.clone().map(At::Url)),
        ])?;
        let meant = one([
            (
                "AZMUTEX_CONNECTION_STRING_FILE",
                variable("CONNECTION_STRING_FILE").map(|file| At::ConnectionString(file.into())),
            ),
            ("AZMUTEX_ACCOUNT", variable("ACCOUNT").map(At::Account)),
            ("AZMUTEX_CONTAINER_URL", variable("CONTAINER_URL").map(At::Url)),
        ]);
        let is_said = said.is_some();
        let (by, at) = match said {
            Some(said) => said,
            None => meant?.unwrap_or(("", At::Environment)),
        };
        if let At::Url(url) = &at
            && url.contains(['?', '#'])
        {
            return Err(Failure::new(
                USAGE,
                "the container's URL has a query, which may be a secret that others on this machine see; put the \
                 signature into a file, and name that with --sas-file",
            ));
        }
        let (takes_sas, takes_container) = (!matches!(at, At::ConnectionString(_)), !matches!(at, At::Url(_)));
        // A variable gives way to an option that says where the locks are; nothing else is left unused without a word.
        for (word, is_there, is_used) in [
            ("--sas-file", place.sas_file.is_some(), takes_sas),
            ("AZMUTEX_SAS_FILE", !is_said && variable("SAS_FILE").is_some(), takes_sas),
            ("--container", place.container.is_some(), takes_container),
            ("AZMUTEX_CONTAINER", !is_said && variable("CONTAINER").is_some(), takes_container),
        ] {
            if is_there && !is_used {
                return Err(unused(word, by));
            }
        }
        let sas_file = place.sas_file.clone().or_else(|| variable("SAS_FILE").map(PathBuf::from));
        let sas_file = sas_file.filter(|_| takes_sas);
        let container = place.container.clone().or_else(|| variable("CONTAINER")).filter(|_| takes_container);
        let allow_http = place.allow_http || is_true("ALLOW_HTTP", &variable)?;
        Ok(Chosen { at, sas_file, container, allow_http })
    }
}

/// The one of these that there is.
fn one<const N: usize>(all: [(&'static str, Option<At>); N]) -> Result<Option<(&'static str, At)>, Failure> {
    let mut there = all.into_iter().filter_map(|(name, at)| Some((name, at?)));
    match (there.next(), there.next()) {
        (Some((first, _)), Some((second, _))) => Err(unused(second, first)),
        (one, _) => Ok(one),
    }
}

fn unused(word: &str, by: &str) -> Failure {
    Failure::new(USAGE, format!("{word} would not be used beside {by}; say one of them"))
}

fn is_true(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<bool, Failure> {
    match variable(name).map(|value| value.to_ascii_lowercase()).as_deref() {
        Some("1" | "true") => Ok(true),
        Some("0" | "false") | None => Ok(false),
        Some(_) => Err(Failure::new(CONFIGURATION, format!("AZMUTEX_{name} is 1 or 0, true or false"))),
    }
}

fn build(chosen: &Chosen, policy: Policy) -> Result<Container, Failure> {
    let name = chosen.container.as_deref().unwrap_or(DEFAULT_CONTAINER);
    // Whatever is wrong with it is not the fault of where it is.
    Container::development(name).map_err(|error| Failure::usage(&error))?;
    let sas = chosen.sas_file.as_deref().map(secret).transpose()?;
    let credential = |account: Option<&str>| match (&sas, account, env::var("AZURE_STORAGE_KEY")) {
        (Some(sas), _, _) => Credential::sas(sas.trim_start_matches('?')),
        // The key that is there would else be another account's.
        (None, Some(account), Ok(key)) if !key.is_empty() => Credential::shared_key(account, &key),
        (None, _, _) => Credential::from_env(),
    };
    let builder = match &chosen.at {
        At::ConnectionString(file) => Builder::from_connection_string(&secret(file)?, name),
        At::Account(account) => credential(Some(account)).map(|credential| {
            Container::builder(&format!("https://{account}.blob.core.windows.net/{name}"), credential)
        }),
        At::Url(url) => credential(None).map(|credential| Container::builder(url, credential)),
        At::Environment => match &sas {
            None => Builder::from_env(name),
            Some(_) => {
                return Err(Failure::new(USAGE, "--sas-file needs --account or --container-url beside it"));
            }
        },
    };
    let mut builder = builder.map_err(|error| Failure::configuration(&error))?.retry(policy);
    if let Some(version) = variable("SERVICE_VERSION") {
        builder = builder.service_version(&version);
    }
    let allowed = builder.clone().allow_http().build();
    if chosen.allow_http {
        return allowed.map_err(|error| Failure::configuration(&error));
    }
    builder.build().map_err(|error| match allowed {
        Ok(_) if error.kind() == ErrorKind::InvalidInput => Failure::new(
            CONFIGURATION,
            "the service would be spoken to without TLS; use https, or --allow-http if the network may be trusted",
        ),
        _ => Failure::configuration(&error),
    })
}

/// The first line of a file that holds one.
fn secret(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::new(CONFIGURATION, format!("could not read {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

#[cfg(feature = "emulator")]
mod emulated {
    use super::*;
    use crate::tell;

    impl Store {
        pub(super) fn emulator(place: &Place, policy: Policy) -> Result<Store, Failure> {
            let emulator = start(0)?;
            let name = place.container.as_deref().unwrap_or(DEFAULT_CONTAINER);
            let builder = Builder::from_connection_string(&emulator.connection_string(), name);
            let container = builder.and_then(|builder| builder.retry(policy).build());
            let container = container.map_err(|error| Failure::usage(&error))?;
            tell::note("the lock is on an emulator inside this process, so nobody else sees it");
            Ok(Store { container, _emulator: Some(emulator) })
        }
    }

    pub(crate) fn start(port: u16) -> Result<Emulator, Failure> {
        Emulator::builder()
            .port(port)
            .start()
            .map_err(|error| Failure::system(&format!("serve an emulator on port {port}"), &error))
    }
}

#[cfg(feature = "emulator")]
pub(crate) use emulated::start;

#[cfg(not(feature = "emulator"))]
impl Store {
    fn emulator(_: &Place, _: Policy) -> Result<Store, Failure> {
        Err(no_emulator())
    }
}

#[cfg(not(feature = "emulator"))]
pub(crate) fn no_emulator() -> Failure {
    Failure::new(USAGE, "this azmutex was built without an emulator; build it with the feature `emulator`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(place: &Place, variables: &[(&str, &str)]) -> Result<Chosen, u8> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Chosen::of(place, value).map_err(|failure| failure.code)
    }

    #[test]
    fn the_command_line_comes_before_the_environment() {
        let all = [
            ("CONNECTION_STRING_FILE", "file"),
            ("CONTAINER_URL", "https://host/url"),
            ("ACCOUNT", "theirs"),
            ("SAS_FILE", "sas"),
            ("CONTAINER", "theirs"),
            ("ALLOW_HTTP", "1"),
        ];
        let at = |place: &Place, variables| chosen(place, variables).map(|chosen| chosen.at);
        assert_eq!(at(&Place::default(), &[]), Ok(At::Environment));
        assert_eq!(at(&Place::default(), &all[..1]), Ok(At::ConnectionString("file".into())));
        assert_eq!(at(&Place::default(), &all[1..2]), Ok(At::Url("https://host/url".into())));
        assert_eq!(at(&Place::default(), &all[2..]), Ok(At::Account("theirs".into())));
        let mine = Place { account: Some("mine".into()), container: Some("mine".into()), ..Place::default() };
        let expected = Chosen {
            at: At::Account("mine".into()),
            sas_file: Some("sas".into()),
            container: Some("mine".into()),
            allow_http: true,
        };
        assert_eq!(chosen(&mine, &all), Ok(expected));
        assert!(!chosen(&mine, &[("ALLOW_HTTP", "0")]).unwrap().allow_http);
    }

    /// It would be another lock than the one that was meant.
    #[test]
    fn whatever_is_said_is_used_or_refused() {
        let (file, url) = (("CONNECTION_STRING_FILE", "file"), ("CONTAINER_URL", "https://host/url"));
        let none = Place::default();
        let container = Place { container: Some("mine".into()), ..none.clone() };
        let sas = Place { sas_file: Some("sas".into()), ..none.clone() };
        for (place, variables) in [
            (&container, &[url][..]),
            (&sas, &[file]),
            (&none, &[file, url]),
            (&none, &[url, ("ACCOUNT", "theirs")]),
            (&none, &[url, ("CONTAINER", "theirs")]),
            (&none, &[file, ("SAS_FILE", "sas")]),
        ] {
            assert_eq!(chosen(place, variables), Err(USAGE), "{variables:?}");
        }
        // A variable gives way to what is said.
        let url = Place { container_url: Some("https://host/mine".into()), ..none.clone() };
        assert_eq!(chosen(&url, &[file, ("CONTAINER", "theirs")]).unwrap().container, None);
        let file = Place { connection_string_file: Some("mine".into()), ..none };
        assert_eq!(chosen(&file, &[("SAS_FILE", "sas"), ("ACCOUNT", "theirs")]).unwrap().sas_file, None);
    }

    #[test]
    fn a_switch_is_on_or_off() {
        for (value, expected) in [("1", Ok(true)), ("True", Ok(true)), ("0", Ok(false)), ("FALSE", Ok(false))] {
            assert_eq!(chosen(&Place::default(), &[("ALLOW_HTTP", value)]).map(|chosen| chosen.allow_http), expected);
        }
        assert_eq!(chosen(&Place::default(), &[("ALLOW_HTTP", "no")]), Err(CONFIGURATION));
    }

    #[test]
    fn a_url_with_a_secret_in_it_is_refused() {
        let url = |url: &str| Place { container_url: Some(url.into()), ..Place::default() };
        assert_eq!(chosen(&url("https://host/locks?sv=1&sig=x"), &[]), Err(USAGE));
        assert_eq!(chosen(&Place::default(), &[("CONTAINER_URL", "https://host/locks?sig=x")]), Err(USAGE));
        assert!(chosen(&url("https://host/locks"), &[]).is_ok());
    }
}
