//! Certificates for a test, in a folder of its own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// A folder with `ca.pem`, `server.pem`, `server.key`, and the authorities behind them.
pub struct Authority {
    pub folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    stranger: CertifiedIssuer<'static, KeyPair>,
}

/// Which certificate a client shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shows {
    Nothing,
    /// A certificate from the authority, for `prometheus.example`, `spiffe://example/prometheus` and 10.0.0.7.
    Ours,
    /// The authority's own certificate.
    Authority,
    /// A certificate from an authority that the server does not know.
    Strange,
}

impl Authority {
    pub fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority { folder, issuer: issuer("ours"), stranger: issuer("strange") };
        fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority.renew_server();
        authority
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the web configuration.
    pub fn configure(&self, yaml: &str) -> std::path::PathBuf {
        let path = self.path("web.config.yml");
        fs::write(&path, yaml).unwrap();
        path
    }

    /// A new certificate and key for the server; the certificate as DER.
    pub fn renew_server(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        replace(&self.path("server.key"), &key.serialize_pem());
        replace(&self.path("server.pem"), &certificate.pem());
        certificate.der().clone()
    }

    /// TLS for a client that trusts the authority, with ALPN or without.
    pub fn client(&self, shows: Shows) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let issuer = match shows {
            Shows::Nothing => return Arc::new(builder.with_no_client_auth()),
            Shows::Authority => {
                let key = PrivateKeyDer::Pkcs8(self.issuer.key().serialize_der().into());
                let chain = vec![self.issuer.der().clone()];
                return Arc::new(builder.with_client_auth_cert(chain, key).unwrap());
            }
            Shows::Ours => &self.issuer,
            Shows::Strange => &self.stranger,
        };
        let (certificate, key) = client_certificate(issuer);
        Arc::new(builder.with_client_auth_cert(vec![certificate], key).unwrap())
    }
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client_certificate(issuer: &CertifiedIssuer<'static, KeyPair>) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["prometheus.example".to_owned(), "10.0.0.7".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://example/prometheus".try_into().unwrap()));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

/// Replaces a file as careful tools do it: no reader sees half a file.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}
