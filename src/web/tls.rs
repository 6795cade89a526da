//! `tls_server_config` as rustls understands it. What rustls can't do is refused, never ignored.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::client_certificate::{AllowedNames, ClientCertificates, Demand};
use super::file::{Origin, Text, TlsSection, given};
use super::problem::Problem;

const CURVES: [(&str, &dyn SupportedKxGroup); 3] = [
    ("X25519", ring::kx_group::X25519),
    ("CurveP256", ring::kx_group::SECP256R1),
    ("CurveP384", ring::kx_group::SECP384R1),
];

/// rustls' side of a server.
pub(super) struct Tls {
    pub config: Arc<ServerConfig>,
    /// Whether no client gets in without a certificate of their own.
    pub demands_certificate: bool,
}

/// Makes it from what is configured, and reads the files that are named.
pub(super) fn server(section: &TlsSection, origin: &Origin<'_>) -> Result<Tls, Problem> {
    let certificate = pem("cert", &section.cert, "cert_file", &section.cert_file, origin)?;
    let key = pem("key", &section.key, "key_file", &section.key_file, origin)?;
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Err(origin.refuse_whole("tls_server_config needs cert_file and key_file: add both"));
    };
    let provider = Arc::new(provider(section, origin)?);
    let clients = client_certificates(section, origin, &provider)?;
    let demands_certificate = clients.as_ref().is_some_and(|clients| clients.client_auth_mandatory());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(section, origin)?)
        .map_err(|error| origin.refuse_whole(format!("no TLS version is left with these cipher_suites: {error}")))?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
        None => builder.with_no_client_auth(),
    };
    let chain = certificate.certificates(origin)?;
    let mut config = builder.with_single_cert(chain, key.private_key(origin)?).map_err(|error| {
        key.refuse(origin, format!("{} and {} don't serve together: {error}", certificate.name, key.name))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = section.prefer_server_cipher_suites.unwrap_or(true);
    Ok(Tls { config: Arc::new(config), demands_certificate })
}

/// PEM text from the file itself or from one that it names.
struct Pem<'a> {
    name: &'static str,
    place: &'a Text,
    text: Vec<u8>,
}

/// The file comes before the text, as in the toolkit.
fn pem<'a>(
    inline: &'static str,
    text: &'a Option<Text>,
    key: &'static str,
    file: &'a Option<Text>,
    origin: &Origin<'_>,
) -> Result<Option<Pem<'a>>, Problem> {
    Ok(match (given(file), given(text)) {
        (Some(place), _) => Some(Pem { name: key, place, text: origin.read_named(key, place)? }),
        (None, Some(place)) => Some(Pem { name: inline, place, text: place.value.clone().into_bytes() }),
        (None, None) => None,
    })
}

impl Pem<'_> {
    fn refuse(&self, origin: &Origin<'_>, what: impl Into<String>) -> Problem {
        origin.refuse(self.place, what)
    }

    fn certificates(&self, origin: &Origin<'_>) -> Result<Vec<CertificateDer<'static>>, Problem> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        let all = all.map_err(|error| self.refuse(origin, format!("{} is no PEM: {error}", self.name)))?;
        match all.is_empty() {
            true => Err(self.refuse(origin, format!("{} holds no certificate: PEM with BEGIN CERTIFICATE", self.name))),
            false => Ok(all),
        }
    }

    fn private_key(&self, origin: &Origin<'_>) -> Result<PrivateKeyDer<'static>, Problem> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| {
            let what = format!("{} holds no private key without a passphrase, in PEM: {error}", self.name);
            self.refuse(origin, what)
        })
    }
}

fn client_certificates(
    section: &TlsSection,
    origin: &Origin<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<ClientCertificates>, Problem> {
    let demand = given(&section.client_auth_type).map(|text| Demand::from_name(text, origin)).transpose()?.flatten();
    let ca = pem("client_ca", &section.client_ca, "client_ca_file", &section.client_ca_file, origin)?;
    let Some(demand) = demand else {
        return match (ca, &section.client_allowed_sans) {
            (Some(ca), _) => Err(ca.refuse(
                origin,
                format!("{} without client_auth_type checks no client: set it to RequireAndVerifyClientCert", ca.name),
            )),
            (None, Some(_)) => Err(origin.refuse_whole(
                "client_allowed_sans checks no client without client_auth_type: set it to RequireAndVerifyClientCert",
            )),
            (None, None) => Ok(None),
        };
    };
    let roots = ca.map(|ca| roots(&ca, origin)).transpose()?;
    if demand.verified && roots.is_none() {
        return Err(origin.refuse_whole(
            "client_auth_type needs client_ca_file beside it: the system's certificate authorities are not asked",
        ));
    }
    let names = match &section.client_allowed_sans {
        Some(_) if !demand.mandatory => {
            return Err(origin.refuse_whole("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert or RequireAnyClientCert: others let clients in without a certificate"));
        }
        Some(names) => Some(AllowedNames::new(names, origin)?),
        None => None,
    };
    ClientCertificates::new(demand, roots.unwrap_or_else(RootCertStore::empty), names, provider)
        .map(Some)
        .map_err(|error| origin.refuse_whole(format!("client_ca_file can't be used: {error}")))
}

fn roots(ca: &Pem<'_>, origin: &Origin<'_>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in ca.certificates(origin)? {
        roots.add(certificate).map_err(|error| ca.refuse(origin, format!("{} can't be used: {error}", ca.name)))?;
    }
    Ok(roots)
}

fn provider(section: &TlsSection, origin: &Origin<'_>) -> Result<CryptoProvider, Problem> {
    let mut provider = ring::default_provider();
    if let Some(wanted) = section.cipher_suites.as_ref().filter(|wanted| !wanted.is_empty()) {
        // As in Go: those of TLS 1.3 are always on, the list chooses among those of TLS 1.2.
        let mut chosen: Vec<SupportedCipherSuite> =
            provider.cipher_suites.iter().copied().filter(|suite| suite.version() == &TLS13).collect();
        for name in wanted {
            let suite = cipher_suite(name, &provider.cipher_suites, origin)?;
            if !chosen.contains(&suite) {
                chosen.push(suite);
            }
        }
        provider.cipher_suites = chosen;
    }
    if let Some(wanted) = section.curve_preferences.as_ref().filter(|wanted| !wanted.is_empty()) {
        provider.kx_groups = wanted.iter().map(|name| curve(name, origin)).collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

fn cipher_suite(
    name: &Text,
    known: &[SupportedCipherSuite],
    origin: &Origin<'_>,
) -> Result<SupportedCipherSuite, Problem> {
    known.iter().copied().find(|suite| go_name(suite.suite()) == name.value).ok_or_else(|| {
        let names: Vec<String> = known.iter().map(|suite| go_name(suite.suite())).collect();
        let what = format!(
            "the cipher suite {:?} is not there: rustls has neither RSA key exchange nor CBC; there are {}",
            name.value,
            names.join(", ")
        );
        origin.refuse(name, what)
    })
}

/// rustls says TLS13_AES_128_GCM_SHA256 where Go and IANA say TLS_AES_128_GCM_SHA256.
fn go_name(suite: CipherSuite) -> String {
    format!("{suite:?}").replacen("TLS13_", "TLS_", 1)
}

fn curve(name: &Text, origin: &Origin<'_>) -> Result<&'static dyn SupportedKxGroup, Problem> {
    CURVES.iter().find(|(known, _)| *known == name.value).map(|(_, group)| *group).ok_or_else(|| {
        let names = CURVES.map(|(name, _)| name).join(", ");
        origin.refuse(name, format!("the curve {:?} is not there; there are {names}", name.value))
    })
}

fn versions(section: &TlsSection, origin: &Origin<'_>) -> Result<Vec<&'static SupportedProtocolVersion>, Problem> {
    let least = given(&section.min_version).map(|text| version(text, origin)).transpose()?.unwrap_or(&TLS12);
    let most = given(&section.max_version).map(|text| version(text, origin)).transpose()?.unwrap_or(&TLS13);
    match (least == &TLS12, most == &TLS13) {
        (true, true) => Ok(vec![&TLS13, &TLS12]),
        (true, false) => Ok(vec![&TLS12]),
        (false, true) => Ok(vec![&TLS13]),
        (false, false) => Err(origin.refuse_whole("min_version is above max_version: no TLS version is left")),
    }
}

fn version(text: &Text, origin: &Origin<'_>) -> Result<&'static SupportedProtocolVersion, Problem> {
    match text.value.as_str() {
        "TLS12" => Ok(&TLS12),
        "TLS13" => Ok(&TLS13),
        "TLS10" | "TLS11" => {
            Err(origin.refuse(text, format!("{} is broken and not offered: TLS12 or TLS13", text.value)))
        }
        other => Err(origin.refuse(text, format!("there is no TLS version {other:?}: TLS12 or TLS13"))),
    }
}
