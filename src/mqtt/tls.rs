use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::sync::Arc;

/// Whom we trust, and who we are. The default trusts the public authorities and shows no certificate.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// The authorities that may vouch for the broker, instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
    pub client: Option<ClientIdentity>,
}

/// The certificate by which the broker knows us.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The certificate, then those that lead to its authority.
    pub cert_pem: Vec<u8>,
    pub key_pem: SecretString,
}

/// Why no TLS connection can be made from the settings.
#[derive(Debug)]
pub enum TlsError {
    /// The PEM of the authorities cannot be read.
    UnreadableCa(pem::Error),
    /// It can, but there is no certificate in it.
    EmptyCa,
    /// A certificate in it cannot be an authority.
    UnusableCa(rustls::Error),
    UnreadableClientCert(pem::Error),
    EmptyClientCert,
    UnreadableClientKey(pem::Error),
    /// Certificate and key do not belong together, or are of an unsupported kind.
    UnusableClient(rustls::Error),
    /// The crypto provider lacks what TLS needs.
    Provider(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableCa(error) => write!(f, "the CA file is no readable PEM: {error}"),
            Self::EmptyCa => f.write_str("the CA file holds no certificate: it needs a block BEGIN CERTIFICATE"),
            Self::UnusableCa(error) => write!(f, "a certificate of the CA file cannot be an authority: {error}"),
            Self::UnreadableClientCert(error) => write!(f, "the client certificate is no readable PEM: {error}"),
            Self::EmptyClientCert => {
                f.write_str("the client certificate file holds no certificate: it needs a block BEGIN CERTIFICATE")
            }
            Self::UnreadableClientKey(error) => write!(f, "the client key is no readable PEM key: {error}"),
            Self::UnusableClient(error) => write!(f, "the client certificate and its key do not work: {error}"),
            Self::Provider(error) => write!(f, "the TLS library refuses its own provider: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsSettings {
    /// The configuration of the connections; also the check that the files are usable.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let roots = match &self.ca_pem {
            Some(pem) => read_authorities(pem)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        // The provider is named here, because the process has no default one unless somebody installs it.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_root_certificates(roots);
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = read_certificates(&client.cert_pem).map_err(TlsError::UnreadableClientCert)?;
                if chain.is_empty() {
                    return Err(TlsError::EmptyClientCert);
                }
                let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose_secret().as_bytes())
                    .map_err(TlsError::UnreadableClientKey)?;
                builder.with_client_auth_cert(chain, key).map_err(TlsError::UnusableClient)?
            }
        };
        Ok(Arc::new(config))
    }
}

fn read_authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(pem).map_err(TlsError::UnreadableCa)? {
        roots.add(certificate).map_err(TlsError::UnusableCa)?;
    }
    if roots.is_empty() { Err(TlsError::EmptyCa) } else { Ok(roots) }
}

fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    #[test]
    fn reads_authorities_and_identity() {
        let (cert, key) = identity();
        let settings = TlsSettings {
            ca_pem: Some(cert.clone().into_bytes()),
            client: Some(ClientIdentity { cert_pem: cert.into_bytes(), key_pem: key.clone().into() }),
        };
        let config = settings.client_config().expect("usable");
        assert!(config.client_auth_cert_resolver.has_certs());
        let secret: String = key.lines().nth(1).expect("a line of the key").to_owned();
        assert!(!format!("{settings:?}").contains(&secret));
        assert!(TlsSettings::default().client_config().is_ok());
    }

    #[test]
    fn says_what_is_wrong() {
        let (cert, key) = identity();
        let (other_cert, _) = identity();
        let refusal = |ca: Option<&str>, client: Option<(&str, &str)>| {
            let client = client.map(|(cert, key)| ClientIdentity { cert_pem: cert.into(), key_pem: key.into() });
            TlsSettings { ca_pem: ca.map(Into::into), client }.client_config().expect_err("unusable")
        };
        assert!(matches!(refusal(Some(""), None), TlsError::EmptyCa));
        assert!(matches!(refusal(Some(&key), None), TlsError::EmptyCa));
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(refusal(Some(broken), None), TlsError::UnreadableCa(_)));
        assert!(matches!(refusal(None, Some((&key, &key))), TlsError::EmptyClientCert));
        assert!(matches!(refusal(None, Some((&cert, &cert))), TlsError::UnreadableClientKey(_)));
        assert!(matches!(refusal(None, Some((&other_cert, &key))), TlsError::UnusableClient(_)));
    }
}
