//! The environment of the process, as far as it is about credentials.

use std::env;
use std::ffi::OsString;
#[cfg(feature = "entra")]
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Where variables are looked up. An empty one counts as absent.
pub(crate) struct Environment<'a>(pub(crate) &'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    pub(crate) fn of_process() -> Environment<'static> {
        Environment(&|name| env::var_os(name))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        let text = self.raw(name).map(OsString::into_string).transpose();
        text.map_err(|_| Error::input(format!("the environment variable {name} is not valid Unicode")))
    }

    fn raw(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }
}

#[cfg(feature = "entra")]
impl Environment<'_> {
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Variables that `what` cannot do without.
    pub(super) fn all<const N: usize>(&self, names: [&str; N], what: &str) -> Result<[String; N]> {
        let mut values = [const { String::new() }; N];
        for (value, name) in values.iter_mut().zip(names) {
            *value = self.text(name)?.ok_or_else(|| {
                Error::no_credential(format!("{what} needs the environment variable {name}, which is not set"))
            })?;
        }
        Ok(values)
    }
}
