//! A shared access signature, as a query that goes with every request:
//! [Delegate access with a SAS](https://learn.microsoft.com/rest/api/storageservices/delegate-access-with-shared-access-signature).

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::redact::Secret;

mod terms;

pub(crate) use terms::{Reach, Terms};

/// Real ones have a few hundred characters.
const LONGEST: usize = 4096;

pub(crate) struct Sas {
    query: Secret,
    /// Decoded.
    signature: Secret,
    terms: Terms,
}

impl Sas {
    pub(crate) fn new(token: &str) -> Result<Sas> {
        let token = token.trim();
        let query = token.strip_prefix('?').unwrap_or(token);
        if query.len() > LONGEST {
            return Err(Error::input("the SAS token is longer than any; pass the text after the `?` of a SAS URL"));
        }
        // Its values are percent-encoded; decoding them and encoding them again could only break the signature.
        if !query.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?' | b'"' | b'<' | b'>')) {
            return Err(Error::input("the SAS token is not the query part of a URL: it has characters of no query"));
        }
        let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
        let signature = parameters.find(|(name, value)| *name == "sig" && !value.is_empty());
        let (Some((_, signature)), false) = (signature, query.contains("://")) else {
            return Err(Error::input(
                "the SAS token has no signature (`sig=`); pass the text after the `?` of a SAS URL, whole",
            ));
        };
        let signature = Secret::new(percent_decode_str(signature).decode_utf8_lossy().into_owned());
        Ok(Sas { query: Secret::new(query.trim_matches('&').to_owned()), signature, terms: Terms::read(query) })
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(crate) fn append_to(&self, query: &mut String) -> Secret {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(self.query.reveal());
        self.signature.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01T00%3A00%3A00Z&sig=iDXz%2Bg%3D";

    #[test]
    fn it_is_sent_as_it_stands_after_what_is_there() {
        for token in [TOKEN.to_owned(), format!("?{TOKEN}"), format!(" ?{TOKEN}&\n")] {
            let sas = Sas::new(&token).unwrap();
            let mut query = "comp=lease".to_owned();
            assert_eq!(sas.append_to(&mut query).reveal(), "iDXz+g=");
            assert_eq!(query, format!("comp=lease&{TOKEN}"));
            let mut query = String::new();
            sas.append_to(&mut query);
            assert_eq!(query, TOKEN);
        }
    }

    #[test]
    fn its_terms_are_those_of_the_token() {
        assert_eq!(Sas::new(TOKEN).unwrap().terms(), &Terms::read(TOKEN));
    }

    #[test]
    fn what_is_no_sas_is_refused_without_being_shown() {
        let bad = ["", "?", "sv=1&sp=w", "sig=", "sig=a b", "https://x.test/c?sig=abc", "sig=a#b", "sig=é", "SIG=abc"];
        for token in bad {
            let error = Sas::new(token).err().unwrap_or_else(|| panic!("{token}"));
            assert!(!format!("{error:?}").contains("abc"), "{error:?}");
        }
    }
}
