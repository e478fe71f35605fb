//! What a token is for.

use crate::error::{Error, Result};

/// The Blob service, in all clouds:
/// [scope of a token](https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory).
pub(super) const SCOPE: &str = "https://storage.azure.com/.default";
/// No scope is longer.
const LONGEST: usize = 1024;

pub(super) fn check_scope(scope: &str) -> Result<()> {
    if scope.is_empty() || scope.len() > LONGEST || !scope.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::input("the scope must be one, like `https://storage.azure.com/.default`"));
    }
    Ok(())
}

/// What is behind a scope, for those who have not learned of scopes.
pub(super) fn resource(scope: &str) -> &str {
    scope.strip_suffix("/.default").unwrap_or(scope)
}
