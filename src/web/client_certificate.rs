//! Which client certificates are asked for and let in. It decides during the handshake, and reads nothing.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use super::file::{Origin, Text};
use super::problem::Problem;

/// `client_auth_type`, as Go's crypto/tls means it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Demand {
    /// Nobody gets in without a certificate.
    pub mandatory: bool,
    /// What is given must come from the configured authority.
    pub verified: bool,
}

impl Demand {
    /// Demand by its name; `None`: no certificate is asked for.
    pub(super) fn from_name(text: &Text, origin: &Origin<'_>) -> Result<Option<Demand>, Problem> {
        let (mandatory, verified) = match text.value.as_str() {
            "NoClientCert" => return Ok(None),
            "RequestClientCert" => (false, false),
            "RequireAnyClientCert" | "RequireClientCert" => (true, false),
            "VerifyClientCertIfGiven" => (false, true),
            "RequireAndVerifyClientCert" => (true, true),
            other => {
                return Err(origin.refuse(text, format!("there is no client_auth_type {other:?}: NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert")));
            }
        };
        Ok(Some(Demand { mandatory, verified }))
    }
}

/// `client_allowed_sans`: one of a certificate's names must be among them.
#[derive(Debug)]
pub(super) struct AllowedNames {
    texts: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl AllowedNames {
    /// E-mail addresses are refused: the library that reads certificates does not show them.
    pub(super) fn new(names: &[Text], origin: &Origin<'_>) -> Result<AllowedNames, Problem> {
        if let Some(mail) = names.iter().find(|name| name.value.contains('@') && !name.value.contains("://")) {
            return Err(origin.refuse(
                mail,
                "client_allowed_sans can't match e-mail addresses: use a DNS name, a URI or an IP address",
            ));
        }
        let texts: Vec<String> = names.iter().map(|name| name.value.clone()).collect();
        let addresses = texts.iter().filter_map(|text| text.parse().ok()).collect();
        Ok(AllowedNames { texts, addresses })
    }

    fn allow(&self, certificate: &EndEntityCert<'_>) -> bool {
        let listed = |name: &str| self.texts.iter().any(|text| text == name);
        let has_address = |address: &IpAddr| {
            certificate.verify_is_valid_for_subject_name(&ServerName::IpAddress((*address).into())).is_ok()
        };
        certificate.valid_dns_names().any(listed)
            || certificate.valid_uri_names().any(listed)
            || self.addresses.iter().any(has_address)
    }
}

/// The rule for a server's clients.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    demand: Demand,
    /// Asked where certificates are verified.
    authority: Option<Arc<dyn ClientCertVerifier>>,
    names: Option<AllowedNames>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertificates {
    pub(super) fn new(
        demand: Demand,
        roots: RootCertStore,
        names: Option<AllowedNames>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let authority = match demand.verified {
            true => Some(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?),
            false => None,
        };
        Ok(ClientCertificates { demand, authority, names, algorithms: provider.signature_verification_algorithms })
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.demand.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.as_ref().map_or(&[], |authority| authority.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authority) = &self.authority {
            authority.verify_client_cert(end_entity, intermediates, now)?;
        }
        let refused = |why| Error::InvalidCertificate(why);
        if let Some(names) = &self.names {
            let certificate =
                EndEntityCert::try_from(end_entity).map_err(|_| refused(CertificateError::BadEncoding))?;
            if !names.allow(&certificate) {
                return Err(refused(CertificateError::ApplicationVerificationFailure));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
