//! What an application signs with:
//! [assertions by a certificate](https://learn.microsoft.com/entra/identity-platform/certificate-credentials).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;
use zeroize::Zeroizing;

use super::pem;
use crate::clock;
use crate::random;
use crate::redact::{Secret, shown_path};

/// Files of a certificate with its chain and its key have some thousand bytes.
const LONGEST: u64 = 256 * 1024;
/// How long an assertion is good; it is used at once.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// A file with a certificate and its key. It is read anew for each token, since certificates are replaced before they
/// expire.
pub(super) struct CertificateFile {
    path: PathBuf,
    /// Where the path is from, for error texts.
    given_by: &'static str,
}

impl CertificateFile {
    pub(super) fn new(path: PathBuf, given_by: &'static str) -> CertificateFile {
        CertificateFile { path, given_by }
    }

    /// The error is for a person, and shows nothing of the file.
    pub(super) fn load(&self) -> Result<Signer, String> {
        let signer = read(&self.path).and_then(|file| Signer::of(&file));
        signer.map_err(|what| format!("{} is {}, which {what}", self.given_by, shown_path(&self.path)))
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let unread = |error| format!("cannot be read: {error}");
    let metadata = path.metadata().map_err(unread)?;
    // Of a pipe, the second reading would have nothing.
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.len() > LONGEST {
        return Err("is larger than any file of a certificate and its key".to_owned());
    }
    // In one piece, so that nothing of it is left behind where it grew.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or_default()]);
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(unread)?;
    Ok(bytes)
}

/// A key, and the thumbprints of its certificate. ring gives no way to wipe the key, so it is kept for as long as it takes
/// to sign.
pub(super) struct Signer {
    key: RsaKeyPair,
    sha1: String,
    sha256: String,
}

impl Signer {
    fn of(file: &[u8]) -> Result<Signer, String> {
        let blocks = pem::blocks(file)?;
        if blocks.is_empty() {
            return Err(
                "is no PEM file; `openssl pkcs12 -nodes -in FILE -out FILE.pem` makes one of a PFX file, which \
                        this crate cannot read"
                    .to_owned(),
            );
        }
        let mut keys = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
        let (Some(key), None) = (keys.next(), keys.next()) else {
            let is_none = !blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY"));
            return Err(if is_none { "has no private key" } else { "has two private keys" }.to_owned());
        };
        if key.is_encrypted {
            return Err("has an encrypted key, which azmutex cannot read; `openssl pkey` decrypts it".to_owned());
        }
        let pair = match &*key.label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&key.der),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&key.der),
            label => return Err(format!("has a key of the kind {label:?}; it must be of RSA")),
        };
        let pair = pair.map_err(|rejected| format!("has a key that is no good RSA key ({rejected})"))?;
        let mut certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE").peekable();
        if certificates.peek().is_none() {
            return Err("has no certificate".to_owned());
        }
        // A chain may be there, in whatever order. A certificate has the public key in it as it is.
        let public = pair.public_key().as_ref();
        let is_its = |der: &[u8]| der.windows(public.len()).any(|part| part == public);
        let certificate = certificates.find(|block| is_its(&block.der));
        let certificate = certificate.ok_or("has a private key and the certificate of another key")?;
        let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &certificate.der));
        let (sha1, sha256) = (thumbprint(&SHA1_FOR_LEGACY_USE_ONLY), thumbprint(&SHA256));
        Ok(Signer { key: pair, sha1, sha256 })
    }

    /// An assertion of the application `client_id`, for the token endpoint with that URL.
    pub(super) fn assertion(&self, audience: &str, client_id: &str) -> Result<Secret, String> {
        let id = random::bytes::<16>().map_err(|error| error.to_string())?;
        let now = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Both thumbprints: the newer one is what is recommended now, the older one what has long gone with RS256.
        let header = json!({"alg": "RS256", "typ": "JWT", "x5t": self.sha1, "x5t#S256": self.sha256});
        let claims = json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "nbf": now.as_secs(),
            "iat": now.as_secs(),
            "exp": (now + LIFE).as_secs(),
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the private key could not sign".to_owned())?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}
