//! TLS by rustls, as the file asks for it.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::file::Tls;

/// The checks of a client's certificate (Go's `tls.ClientAuthType`).
#[derive(Clone, Copy, Debug, PartialEq)]
enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

/// The certificate that a client needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demands {
    /// A certificate…
    certificate: bool,
    /// …of a known authority…
    authority: bool,
    /// …with one of some names.
    name: bool,
}

impl Demands {
    /// Those of a section that is valid.
    pub(super) fn of(tls: &Tls) -> Self {
        let auth = client_auth(tls).unwrap_or(ClientAuth::None);
        let certificate = matches!(auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
        Self {
            certificate,
            authority: auth == ClientAuth::RequireAndVerify,
            name: certificate && !tls.client_allowed_sans.is_empty(),
        }
    }

    /// Whether these let nobody in whom the others would not.
    pub(super) fn cover(self, others: Self) -> bool {
        self.certificate >= others.certificate
            && self.authority >= others.authority
            && self.name >= others.name
    }
}

/// A server's side of TLS.
pub(super) fn server_config(tls: &Tls, http2: bool) -> Result<ServerConfig, String> {
    let provider = Arc::new(provider(tls)?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls)?)
        .map_err(|error| format!("tls_server_config: {error}"))?;
    let builder = match client_verifier(tls, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let certificate = pem("cert", tls.cert.as_ref(), tls.cert_file.as_deref())?
        .ok_or("tls_server_config: cert_file or cert is missing")?;
    let key = pem("key", tls.key.as_ref(), tls.key_file.as_deref())?
        .ok_or("tls_server_config: key_file or key is missing")?;
    let chain = certificates("cert", &certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| format!("tls_server_config: key: cannot read a private key: {error}"))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("tls_server_config: cert and key do not fit: {error}"))?;
    // Without HTTP/2 nothing is negotiated, as in Go, so that a client that asks for it only is served.
    if http2 {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// A PEM text, given as such or as a file.
fn pem(name: &str, text: Option<&String>, file: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let text = text.filter(|text| !text.is_empty());
    match (text, file) {
        (Some(_), Some(_)) => {
            Err(format!("tls_server_config: only one of {name} and {name}_file may be given"))
        }
        (Some(text), None) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(path)) => fs::read(path).map(Some).map_err(|error| {
            format!("tls_server_config: {name}_file: cannot read {}: {error}", path.display())
        }),
        (None, None) => Ok(None),
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("tls_server_config: {name}: there is no certificate in it")),
        Err(error) => Err(format!("tls_server_config: {name}: {error}")),
    }
}

/// The cipher suites and groups that rustls may use: all that it has, or those of them that the file
/// names.
fn provider(tls: &Tls) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if !tls.cipher_suites.is_empty() {
        // Those of TLS 1.3 cannot be chosen, as in Go; rustls names them "TLS13_…".
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        let is_known = |wanted: &str| {
            let names = provider.cipher_suites.iter().map(name);
            names.map(|name| name.replace("TLS13_", "TLS_")).any(|name| name == wanted)
        };
        for wanted in &tls.cipher_suites {
            if !is_known(wanted) {
                let names: Vec<_> = provider.cipher_suites.iter().map(name).collect();
                return Err(format!(
                    "tls_server_config: cipher_suites: unknown cipher {wanted:?}; there are {}",
                    names.join(", ").replace("TLS13_", "TLS_")
                ));
            }
        }
        provider.cipher_suites.retain(|suite| {
            let name = name(suite);
            name.starts_with("TLS13_") || tls.cipher_suites.contains(&name)
        });
    }
    if !tls.curve_preferences.is_empty() {
        let mut groups = Vec::new();
        for curve in &tls.curve_preferences {
            let wanted = match curve.as_str() {
                "CurveP256" => NamedGroup::secp256r1,
                "CurveP384" => NamedGroup::secp384r1,
                "X25519" => NamedGroup::X25519,
                _ => {
                    return Err(format!(
                        "tls_server_config: curve_preferences: unknown curve {curve:?}; there are \
                         CurveP256, CurveP384 and X25519"
                    ));
                }
            };
            groups.extend(provider.kx_groups.iter().filter(|group| group.name() == wanted));
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}

/// The versions between the bounds. There are none below 1.2.
fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let bound = |name: &str, value: &Option<String>, default| match value.as_deref() {
        None | Some("") => Ok(default),
        Some("TLS10") => Ok(10),
        Some("TLS11") => Ok(11),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(other) => {
            Err(format!("tls_server_config: {name}: expected TLS12 or TLS13, found {other:?}"))
        }
    };
    let min = bound("min_version", &tls.min_version, 12)?;
    let max = bound("max_version", &tls.max_version, 13)?;
    let all = [(12, &TLS12), (13, &TLS13)];
    let chosen = all.iter().filter(|(number, _)| (min..=max).contains(number));
    let chosen: Vec<_> = chosen.map(|(_, version)| *version).collect();
    if chosen.is_empty() {
        return Err("tls_server_config: max_version: there is nothing below TLS12".to_owned());
    }
    Ok(chosen)
}

fn client_auth(tls: &Tls) -> Result<ClientAuth, String> {
    Ok(match tls.client_auth_type.as_deref() {
        None | Some("" | "NoClientCert") => ClientAuth::None,
        Some("RequestClientCert") => ClientAuth::Request,
        Some("RequireAnyClientCert" | "RequireClientCert") => ClientAuth::RequireAny,
        Some("VerifyClientCertIfGiven") => ClientAuth::VerifyIfGiven,
        Some("RequireAndVerifyClientCert") => ClientAuth::RequireAndVerify,
        Some(other) => {
            return Err(format!(
                "tls_server_config: client_auth_type: invalid ClientAuth {other:?}; there are \
                 NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven and \
                 RequireAndVerifyClientCert"
            ));
        }
    })
}

fn client_verifier(
    tls: &Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let auth = client_auth(tls)?;
    // Whoever shows no certificate would be let in, whatever names are allowed.
    if !tls.client_allowed_sans.is_empty() && !Demands::of(tls).name {
        return Err(format!(
            "tls_server_config: client_allowed_sans: with client_auth_type {} clients without a \
             certificate are let in; set client_auth_type: RequireAndVerifyClientCert, and \
             client_ca_file",
            tls.client_auth_type
                .as_deref()
                .filter(|auth| !auth.is_empty())
                .unwrap_or("NoClientCert")
        ));
    }
    let authorities = pem("client_ca", tls.client_ca.as_ref(), tls.client_ca_file.as_deref())?;
    if auth == ClientAuth::None {
        return if authorities.is_some() {
            Err("tls_server_config: client_ca: Client CA's have been configured without a Client \
                 Auth Policy (client_auth_type)"
                .to_owned())
        } else {
            Ok(None)
        };
    }
    let verifies = matches!(auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    let verifier = if verifies {
        let pem = authorities.ok_or("tls_server_config: client_ca_file or client_ca is missing")?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client_ca", &pem)? {
            roots
                .add(certificate)
                .map_err(|error| format!("tls_server_config: client_ca: {error}"))?;
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let verifier = builder.build();
        Some(verifier.map_err(|error| format!("tls_server_config: client_ca: {error}"))?)
    } else {
        None
    };
    Ok(Some(Arc::new(Verifier {
        authorities: verifier,
        mandatory: matches!(auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify),
        allowed_sans: tls.client_allowed_sans.clone(),
        algorithms: provider.signature_verification_algorithms,
    })))
}

/// Looks at a client's certificate.
#[derive(Debug)]
struct Verifier {
    /// Where the certificate has to be of a known authority.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
    /// One of these names has to be in it; none: any.
    allowed_sans: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.as_ref().map_or(&[], |known| known.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities.verify_client_cert(end_entity, intermediates, now)?;
        }
        if self.allowed_sans.is_empty() || has_name(end_entity, &self.allowed_sans) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether one of the certificate's alternative names is among these, to the letter.
fn has_name(certificate: &CertificateDer<'_>, allowed: &[String]) -> bool {
    let Ok((_, parsed)) = x509_parser::certificate::X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| {
        let name = match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                (*name).to_owned()
            }
            GeneralName::IPAddress(bytes) => match ip_address(bytes) {
                Some(address) => address.to_string(),
                None => return false,
            },
            _ => return false,
        };
        allowed.contains(&name)
    })
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
