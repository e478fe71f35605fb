//! [PEM](https://www.rfc-editor.org/rfc/rfc7468): what keys and certificates are kept in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// One of a file's parts.
pub(super) struct Block {
    /// `CERTIFICATE`, `PRIVATE KEY` ...
    pub(super) label: String,
    pub(super) is_encrypted: bool,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// The blocks of a file, without what is written between them. The error says what is wrong, and shows none of it.
pub(super) fn blocks(file: &[u8]) -> Result<Vec<Block>, &'static str> {
    let mut blocks = Vec::new();
    let mut lines = file.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = label(line, "-----BEGIN ") else { continue };
        let mut is_encrypted = label.starts_with("ENCRYPTED");
        // In one piece, so that nothing of it is left behind where it grew.
        let mut text = Zeroizing::new(Vec::with_capacity(file.len()));
        loop {
            let line = lines.next().ok_or("has a part without its END line")?;
            if let Some(end) = self::label(line, "-----END ") {
                if end != label {
                    return Err("has a part that ends with another part's END line");
                }
                break;
            }
            // A header's, as OpenSSL wrote them of old.
            if line.contains(&b':') {
                is_encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
            } else {
                text.extend_from_slice(line);
            }
        }
        let mut der = Zeroizing::new(vec![0; text.len()]);
        let length = match STANDARD.decode_slice(&*text, &mut der) {
            Ok(length) => length,
            // It is not read, and some of it may be what is not base64.
            Err(_) if is_encrypted => 0,
            Err(_) => return Err("has a part that is not base64"),
        };
        der.truncate(length);
        blocks.push(Block { label: label.to_owned(), is_encrypted, der });
    }
    Ok(blocks)
}

fn label<'a>(line: &'a [u8], begin: &str) -> Option<&'a str> {
    let label = line.strip_prefix(begin.as_bytes()).or_else(|| {
        // A byte order mark before the first one.
        line.strip_prefix("\u{feff}".as_bytes())?.strip_prefix(begin.as_bytes())
    })?;
    std::str::from_utf8(label.strip_suffix(b"-----")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Plain = (String, bool, Vec<u8>);

    fn read(text: &str) -> Result<Vec<Plain>, &'static str> {
        let plain = |block: Block| (block.label, block.is_encrypted, block.der.to_vec());
        Ok(blocks(text.as_bytes())?.into_iter().map(plain).collect())
    }

    #[test]
    fn parts_and_what_is_between_them() {
        let text = "\u{feff}-----BEGIN A-----\r\nAAE\r\nC\r\n-----END A-----\r\nBag: x\n-----BEGIN B B-----\n\n  Aw== \n\
                    -----END B B-----";
        let expected = vec![("A".to_owned(), false, vec![0, 1, 2]), ("B B".to_owned(), false, vec![3])];
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("no such thing\n-----BEGIN\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_encrypted_is_known_by_its_label_or_its_header() {
        let by_label = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAEC\n-----END ENCRYPTED PRIVATE KEY-----";
        let by_header = "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x,00\n\nAAEC\n-----END K-----";
        for text in [by_label, by_header] {
            assert!(read(text).unwrap()[0].1, "{text}");
        }
    }

    #[test]
    fn what_is_broken_is_an_error() {
        for text in [
            "-----BEGIN A-----\nAAEC",
            "-----BEGIN A-----\nAAEC\n-----END B-----",
            "-----BEGIN A-----\n~~~~\n-----END A-----",
            "-----BEGIN A-----\nAAE\n-----END A-----",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
